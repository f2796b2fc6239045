"""Requests that nobody sends by mistake: whatever it is, the answer is an envelope, and nothing is printed."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.emulator.routes import ROUTES
from tests.emulator.api import failure, ndjson, vector
from tests.emulator.test_wire import AUTH, BASE, Raw, chunks

BODY = ndjson([vector("a")])
#: Headers that frame a body, and whether the body that follows is taken.
FRAMES: dict[bytes, bool] = {
    b"Content-Length: %d\r\n" % len(BODY): True,
    b"content-length:%d\r\n" % len(BODY): True,
    b"Content-Length: 000%d\r\n" % len(BODY): True,
    **dict.fromkeys(
        [
            b"Content-Length:\r\n", b"Content-Length: \r\n", b"Content-Length: -1\r\n", b"Content-Length: +5\r\n",
            b"Content-Length: 5 5\r\n", b"Content-Length: 5,5\r\n", b"Content-Length: 0x10\r\n",
            b"Content-Length: 1e3\r\n",
            b"Content-Length: 5.0\r\n", b"Content-Length: five\r\n", b"Content-Length: \xd9\xa3\r\n",
            b"Content-Length: 5;\r\n",
            b"Content-Length: " + b"9" * 16 + b"\r\n", b"Content-Length: 5\r\nContent-Length: 5\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"Transfer-Encoding:\r\n",
            b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: gzip\r\n",
            b"Transfer-Encoding: chunked, gzip\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked;q=1\r\n", b"Content-Length: 999999\r\n",
            b"Content-Length: 5\r\n\tfolded\r\n",
        ],
        False,
    ),
}  # fmt: skip
CHUNKED = {
    b"": False, b"0\r\n": False, b"0\r\n\r\n": False, b"\r\n\r\n": False, b"-5\r\n": False, b"+5\r\n": False,
    b"0x5\r\n": False, b"5 5\r\n": False, b"g\r\n": False, b"ffffffffff\r\n": False, b"7fffffff\r\n": False,
    b"5\r\nab": False, b"1\r\naXX0\r\n\r\n": False, b"5;" + b"e" * 20_000 + b"\r\n": False, b"\x00\r\n": False,
    chunks(BODY, 7) + b"\r\n": True, chunks(BODY, 10**6) + b"T: 1\r\n\r\n": True,
}  # fmt: skip
#: Not of ``/``, which is the page for a person.
LINES = [
    b"", b"\r\n", b"\n", b"\x00", b"GET", b"GET /", b"GET /x HTTP/1.1 x", b" GET /x HTTP/1.1",
    b"GET  /x HTTP/1.1 ", b"GET /x HTTP/1.2",
    b"GET /x HTTP/9.9", b"GET /x http/1.1", b"GET /x HTTP/1.1\x00", b"\xff\xfe / HTTP/1.1", b"G\xc3\x89T / HTTP/1.1",
    b"GET /\x80 HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01", b"SSH-2.0-x", b"GET http://[ HTTP/1.1",
    b"GET http://[::1/x HTTP/1.1",
    b"GET /x?" + b"&".join(b"a=%d" % n for n in range(50)) + b" HTTP/1.1", b"GET /" + b"x" * 20_000 + b" HTTP/1.1",
]  # fmt: skip
HEADERS = [
    b"X: " + b"a" * 70_000, b"X: 1\r\n" * 200, b"\x00: 1", b"X: \x00", b"X\x00: 1", b": no name",
    b"no colon", b"X : space",
    b" folded: first", b"X: 1\r\n folded", b"X: \xff\xfe", b"X: \r\n\tx", b"Host: a\r\nHost: b", b"Connection: \x00",
    b"Expect: 200-maybe", b"Expect: 100-continue\r\nContent-Length: 0", b"Authorization: Bearer \xc3\xa9",
    b"Content-Type: \xff/\xff", b"X-Emulator-Scope: " + b"s" * 5_000, b"Cookie: " + b"c" * 9_000,
    b"Upgrade: websocket",
]  # fmt: skip
METHODS = [
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"get",
    b"G%45T",
    b"X" * 200,
]
PATHS = [
    BASE + "".join(f"/{part or 'docs'}" for part in parts).encode()
    for _, parts in ROUTES
    if "delete" not in parts
]


def requests() -> Iterator[tuple[bytes, bool]]:
    """Give requests, and for each whether it may be carried out."""
    upsert = b"POST " + BASE + b"/docs/upsert HTTP/1.1\r\n" + AUTH + b"Content-Type: application/x-ndjson\r\n"
    query = b"POST " + BASE + b"/docs/query HTTP/1.1\r\n" + AUTH + b"Content-Type: application/json\r\n"
    for frame, good in FRAMES.items():
        yield upsert + frame + b"\r\n" + BODY, good
        yield query + frame + b"\r\n" + BODY, False
        yield upsert.replace(b"HTTP/1.1", b"HTTP/1.0") + frame + b"\r\n" + BODY, good
        yield upsert + b"Expect: 100-continue\r\n" + frame + b"\r\n" + BODY, good
        yield query.replace(b"docs/query", b"docs/list") + frame + b"\r\n" + BODY, False
    for body, good in CHUNKED.items():
        yield upsert + b"Transfer-Encoding: chunked\r\n\r\n" + body, good
        yield query + b"Transfer-Encoding: chunked\r\n\r\n" + body, False
    for line in LINES:
        yield line + b"\r\n\r\n", False
        yield line + b"\r\n" + AUTH + b"Content-Length: 5\r\n\r\nhello", False
    for header in HEADERS:
        yield b"GET " + BASE + b"/docs HTTP/1.1\r\n" + AUTH + header + b"\r\n\r\n", True
        yield b"PUT " + BASE + b"/docs HTTP/1.1\r\n" + header + b"\r\n\r\n", False
    for method, path in itertools.product(METHODS, dict.fromkeys(PATHS)):
        if (method, path) != (b"DELETE", BASE + b"/docs"):
            yield method + b" " + path + b" HTTP/1.1\r\n" + AUTH + b"\r\n", method in (b"GET", b"POST")


REQUESTS = list(dict.fromkeys(requests()))


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with Emulator(request_seconds=5.0) as running:
        running.create_index("docs", account="a")
        yield running


def ask(emulator: Emulator, request: bytes) -> tuple[int, dict[str, object]]:
    connection = Raw(emulator)
    try:
        connection.send(request)
        connection.socket.shutdown(socket.SHUT_WR)
        status = connection.status()
        while status == 100:
            status = connection.status()
        return status, connection.rest()
    finally:
        connection.reader.close()
        connection.socket.close()


def test_there_are_at_least_378_of_them() -> None:
    assert len(REQUESTS) >= 378


@pytest.mark.parametrize("part", range(8))
def test_a_hostile_request_is_answered_in_the_apis_words_and_the_server_goes_on(
    shared: Emulator, part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for request, may_pass in REQUESTS[part::8]:
        status, envelope = ask(shared, request)
        assert status < 500, request[:200]
        assert status >= 400 or may_pass, request[:200]
        if status >= 400:
            failure(envelope)
    assert ask(shared, b"GET /_emulator/health HTTP/1.1\r\n\r\n") == (200, {"status": "ok"})
    assert capsys.readouterr().err == ""
