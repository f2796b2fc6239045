"""Answers: the envelope of the API, and how a connection ends without one."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final, NamedTuple
from uuid import uuid4

import orjson

from airflow_provider_vectorize.emulator.errors import REFUSALS, UPSTREAM_PREFIX, ApiError
from airflow_provider_vectorize.emulator.faults import Fault

_FIXED_TEXTS: Final = {row.code: row.text for row in REFUSALS.values() if "{" not in row.text}


class Pace(NamedTuple):
    """How slowly bytes pass.

    :param size: so many at a time;
    :param seconds: this long before each time.
    :param head: whether the head of the answer passes so slowly too.
    """

    size: int
    seconds: float
    head: bool


class Reply(NamedTuple):
    """An answer.

    :param body: its JSON text.
    :param retry_after: the ``Retry-After`` header, whole seconds.
    :param allow: the ``Allow`` header.
    :param content_type: of the body.
    :param pace: None for as fast as it goes.
    """

    status: int
    body: bytes
    retry_after: int | None = None
    allow: str | None = None
    content_type: str = "application/json"
    pace: Pace | None = None

    def head(self, *, close: bool) -> bytes:
        """Give the status line and headers as they go over the wire.

        :param close: whether the connection ends with it.
        """
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [
            f"HTTP/1.1 {self.status} {phrase}",
            f"Content-Type: {self.content_type}; charset=UTF-8",
            f"Content-Length: {len(self.body)}",
            f"CF-Ray: {uuid4().hex[:16]}-EMU",
            f"Connection: {'close' if close else 'keep-alive'}",
        ]
        if self.retry_after is not None:
            lines.append(f"Retry-After: {self.retry_after}")
        if self.allow is not None:
            lines.append(f"Allow: {self.allow}")
        return "\r\n".join([*lines, "", ""]).encode()


class Hangup(NamedTuple):
    """No answer: the connection is reset after so many seconds."""

    seconds: float = 0


def success(result: Any, status: int = 200) -> Reply:
    """Wrap a result."""
    return Reply(status, orjson.dumps({"result": result, "success": True, "errors": [], "messages": []}))


def page() -> Reply:
    """Answer the page for people."""
    text = files("airflow_provider_vectorize.emulator").joinpath("page.html").read_bytes()
    return Reply(200, text, content_type="text/html")


def plain(value: Any) -> Reply:
    """Answer JSON without an envelope, as the control surface does."""
    return Reply(200, orjson.dumps(value))


def refusal(error: ApiError, statuses: Mapping[str, int]) -> Reply:
    """Wrap a refusal.

    :param statuses: HTTP statuses that differ from the error's, by kind.
    """
    reply = _failure(statuses.get(error.kind, error.status), error.code, error.message, error.retry_after)
    return reply._replace(allow=error.allow)


def pace(fault: Fault | None) -> Pace | None:
    """Give how slowly bytes pass with a fault; None for as fast as they go."""
    if fault is not None and fault.kind == "drip":
        return Pace(1, fault.seconds, head=True)
    if fault is not None and fault.bytes_per_second is not None:
        size = max(1, fault.bytes_per_second // 20)
        return Pace(size, size / fault.bytes_per_second, head=False)
    return None


def ordered(fault: Fault) -> Reply:
    """Give the answer that a fault of kind ``status`` asks for, in the API's words if the code has fixed ones."""
    text = _FIXED_TEXTS.get(fault.code, "a fault that was ordered")
    prefix = UPSTREAM_PREFIX if 40000 <= fault.code < 49000 else ""
    return _failure(fault.status, fault.code, prefix + text, fault.retry_after)


def _failure(status: int, code: int, message: str, retry_after: int | None) -> Reply:
    errors = [{"code": code, "message": message}]
    body = orjson.dumps({"result": None, "success": False, "errors": errors, "messages": []})
    return Reply(status, body, retry_after)
