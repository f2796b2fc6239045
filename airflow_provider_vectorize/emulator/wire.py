"""HTTP/1.1 off the socket, with a bound on everything a sender chooses: time, lines, headers, body."""

from __future__ import annotations

import io
import re
import socket
import time
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException, parse_headers
from typing import Final, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

from airflow_provider_vectorize.emulator.errors import ApiError

_MAX_LINE: Final = 16_384
_MAX_TRAILERS: Final = 100
_MAX_PARAMETERS: Final = 20


class Reader(Protocol):
    """What is needed of :class:`io.BufferedReader`."""

    def read(self, size: int, /) -> bytes:
        """Read so many bytes, or fewer at the end."""

    def readline(self, limit: int = ..., /) -> bytes:
        """Read a line, or so many bytes of it."""


class Wire(io.RawIOBase):
    """A socket's bytes until a deadline, however slowly they trickle in.

    :param connection: not owned: closing this leaves the socket open.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._deadline = 0.0

    def allow(self, seconds: float) -> None:
        """Set the deadline."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """Tell the buffer above that it may read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io wants Buffer, new in 3.12
        """Read what is there.

        :raises TimeoutError: past the deadline.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Head(NamedTuple):
    """A request without its body."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    keep_alive: bool

    @property
    def expects_continue(self) -> bool:
        """Whether the sender waits for a word before it sends the body."""
        return bool(self.headers.get("Expect", "").lower() == "100-continue")

    @property
    def has_body(self) -> bool:
        """Whether more bytes belong to this request."""
        return "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0"


def read_head(reader: Reader) -> Head:
    """Read request line and headers.

    :raises ApiError: if they are malformed.
    """
    line = reader.readline(_MAX_LINE)
    try:
        method, target, version = line.decode("ascii").split()
    except ValueError:
        raise ApiError("bad_request", reason="request line") from None
    if not line.endswith(b"\n") or version not in ("HTTP/1.1", "HTTP/1.0"):
        raise ApiError("bad_request", reason="request line")
    try:
        headers = parse_headers(reader)
        address = urlsplit(target)
        query = dict(parse_qsl(address.query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
    except (HTTPException, ValueError):
        raise ApiError("bad_request", reason="headers or query") from None
    keep_alive = version == "HTTP/1.1" and "close" not in headers.get("Connection", "").lower()
    return Head(method, address.path, query, headers, keep_alive)


def read_body(reader: Reader, head: Head, limit: int, proceed: Callable[[], None]) -> bytes:
    """Read the body.

    :param limit: how many bytes it may have.
    :param proceed: called once it is known that the body is wanted.
    :raises ApiError: if it is too large, malformed, or ends early.
    """
    length = _length(head.headers)
    if length is not None and length > limit:
        raise ApiError("body_too_large", limit=limit)
    proceed()
    return _read_chunks(reader, limit) if length is None else _read_exactly(reader, length)


def _length(headers: Message) -> int | None:
    """Give the length of the body; None if it comes in chunks."""
    encodings = headers.get_all("Transfer-Encoding", [])
    lengths = headers.get_all("Content-Length", [])
    if encodings:
        # Both at once is how requests are smuggled past a proxy.
        if lengths or [str(item).strip().lower() for item in encodings] != ["chunked"]:
            raise ApiError("bad_request", reason="Transfer-Encoding")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,15}", lengths[0], re.ASCII):
        raise ApiError("bad_request", reason="Content-Length")
    return int(lengths[0])


def _read_exactly(reader: Reader, length: int) -> bytes:
    body = reader.read(length)
    if len(body) < length:
        raise ApiError("bad_request", reason="the body ended early")
    return body


def _read_chunks(reader: Reader, limit: int) -> bytes:
    body = bytearray()
    while True:
        size, _, _ = reader.readline(_MAX_LINE).partition(b";")
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}\s*", size):
            raise ApiError("bad_request", reason="chunk size")
        length = int(size, 16)
        if not length:
            break
        if len(body) + length > limit:
            raise ApiError("body_too_large", limit=limit)
        body += _read_exactly(reader, length)
        if reader.readline(_MAX_LINE).strip():
            raise ApiError("bad_request", reason="chunk end")
    for _ in range(_MAX_TRAILERS):
        if not reader.readline(_MAX_LINE).strip():
            return bytes(body)
    raise ApiError("bad_request", reason="trailers")
