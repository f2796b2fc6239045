"""HTTP as it may come: in chunks, with a pause for a word, cut short, too large, too slow, or hostile."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.emulator.settings import MAX_JSON_BYTES, MAX_UPLOAD_BYTES
from tests.emulator.api import NDJSON, Api, failure, ndjson, vector

AUTH = b"Authorization: Bearer token\r\n"
BASE = b"/client/v4/accounts/a/vectorize/v2/indexes"
UPSERT = b"POST " + BASE + b"/docs/upsert HTTP/1.1\r\nContent-Type: application/x-ndjson\r\n" + AUTH


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(request_seconds=1.0) as running:
        running.create_index("docs", account="a")
        yield running


@pytest.fixture
def api(emulator: Emulator) -> Api:
    return Api(f"{emulator.url}/client/v4", "a", "token")


class Raw:
    """A connection on which anything can be sent."""

    def __init__(self, emulator: Emulator) -> None:
        self.socket = socket.create_connection(("127.0.0.1", emulator.port), timeout=10)
        self.reader = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def status(self) -> int:
        """Read a status line and headers; leave the body."""
        line = self.reader.readline()
        self.length = 0
        while (header := self.reader.readline()) not in (b"\r\n", b""):
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                self.length = int(value)
        return int(line.split()[1])

    def answer(self) -> tuple[int, dict[str, Any]]:
        status = self.status()
        return status, self.rest()

    def rest(self) -> dict[str, Any]:
        return json.loads(self.reader.read(self.length))

    def ended(self) -> bool:
        return self.reader.read(1) == b""


@pytest.fixture
def raw(emulator: Emulator) -> Iterator[Raw]:
    connection = Raw(emulator)
    yield connection
    connection.socket.close()


def chunks(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n"


def test_a_connection_serves_one_request_after_another(raw: Raw) -> None:
    for _ in range(3):
        raw.send(b"GET " + BASE + b"/docs HTTP/1.1\r\n" + AUTH + b"\r\n")
        assert raw.answer()[0] == 200


def test_requests_may_be_sent_ahead_of_answers(raw: Raw) -> None:
    raw.send((b"GET " + BASE + b"/docs HTTP/1.1\r\n" + AUTH + b"\r\n") * 3)
    assert [raw.answer()[0] for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("end", [b" HTTP/1.0\r\n", b" HTTP/1.1\r\nConnection: Close\r\n"])
def test_a_connection_ends_when_the_sender_wants_it_to(raw: Raw, end: bytes) -> None:
    raw.send(b"GET " + BASE + b"/docs" + end + AUTH + b"\r\n")
    assert raw.answer()[0] == 200
    assert raw.ended()


@pytest.mark.parametrize("trailers", [b"\r\n", b"X-Trailer: 1\r\n\r\n"])
def test_a_body_may_come_in_chunks(raw: Raw, api: Api, trailers: bytes) -> None:
    body = ndjson(vector(f"v{number}") for number in range(100))
    raw.send(UPSERT + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(body, 777) + trailers)
    assert raw.answer()[0] == 200
    assert api.info("docs")["vectorCount"] == 100


def test_requests_sends_a_generator_in_chunks(api: Api) -> None:
    body = (ndjson([vector(f"v{number}")]) + b"\n" for number in range(100))
    api.result("POST", "/docs/upsert", data=body, headers={"Content-Type": NDJSON})
    assert api.info("docs")["vectorCount"] == 100


def test_expect_100_continue_is_answered_before_the_body(raw: Raw) -> None:
    body = ndjson([vector("a")])
    raw.send(UPSERT + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    assert raw.status() == 100
    raw.send(body)
    assert raw.answer()[0] == 200


def test_expect_100_continue_is_refused_before_the_body(raw: Raw) -> None:
    raw.send(UPSERT + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_UPLOAD_BYTES + 1))
    assert raw.answer()[0] == 413


curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def run_curl(*arguments: str) -> dict[str, Any]:
    command = ["curl", "--silent", "--noproxy", "*", "-H", "Authorization: Bearer token", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


@curl
@pytest.mark.parametrize(
    "arguments",
    [
        ["-H", "Content-Type: application/x-ndjson", "--data-binary", "@{file}"],
        [
            "-H",
            "Content-Type: application/x-ndjson",
            "-H",
            "Transfer-Encoding: chunked",
            "--data-binary",
            "@{file}",
        ],
        [
            "-H",
            "Content-Type: application/x-ndjson",
            "-H",
            "Expect: 100-continue",
            "-T",
            "{file}",
            "-X",
            "POST",
        ],
        ["-F", "vectors=@{file};type=application/x-ndjson"],
    ],
)
def test_curl_uploads(api: Api, tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "vectors.ndjson"
    file.write_bytes(ndjson(vector(f"v{number}") for number in range(2_000)))
    answer = run_curl(*(argument.format(file=file) for argument in arguments), f"{api.url}/docs/upsert")
    assert answer["success"] is True
    assert api.info("docs")["vectorCount"] == 2_000


@curl
@pytest.mark.parametrize("taken", [True, False])
def test_the_curl_command_of_the_api_reference_is_taken_or_not_as_set(tmp_path: Path, taken: bool) -> None:
    file = tmp_path / "vectors.ndjson"
    file.write_bytes(ndjson([vector("a"), vector("b")]))
    with Emulator(ndjson_boundary=taken) as emulator:
        emulator.create_index("docs", account="a")
        api = Api(f"{emulator.url}/client/v4", "a", "token")
        answer = run_curl(
            "-H", "Content-Type: application/x-ndjson", "-F", f"body=@{file}", f"{api.url}/docs/upsert"
        )
        assert answer["success"] is taken
        assert taken or answer["errors"][0]["code"] == 40023
        assert api.info("docs")["vectorCount"] == (2 if taken else 0)


BODY = ndjson([vector("a")])
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
MALFORMED = {
    "no request line": b"\r\n\r\n",
    "two words": b"GET /\r\n\r\n",
    "four words": b"GET / x HTTP/1.1\r\n\r\n",
    "another protocol": b"GET / HTTP/2.0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bytes": bytes(range(256)) + b"\r\n\r\n",
    "a long request line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 1_000 + b"\r\n",
    "a bad port": b"GET http://[::1/ HTTP/1.1\r\n\r\n",
    "many parameters": b"GET " + BASE + b"/docs/list?" + b"a=1&" * 100 + b" HTTP/1.1\r\n" + AUTH + b"\r\n",
    "a length of words": UPSERT + b"Content-Length: two\r\n\r\n{}",
    "an empty length": UPSERT + b"Content-Length:\r\n\r\n{}",
    "a negative length": UPSERT + b"Content-Length: -2\r\n\r\n{}",
    "a signed length": UPSERT + b"Content-Length: +2\r\n\r\n{}",
    "a huge length": UPSERT + b"Content-Length: " + b"9" * 100 + b"\r\n\r\n",
    "two lengths": UPSERT + LENGTH + LENGTH + b"\r\n" + BODY,
    "length and chunks": UPSERT + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(BODY, 99) + b"\r\n",
    "another encoding": UPSERT + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk size": UPSERT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a negative chunk size": UPSERT + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "no chunk size": UPSERT + b"Transfer-Encoding: chunked\r\n\r\n\r\n",
    "a chunk without end": UPSERT + b"Transfer-Encoding: chunked\r\n\r\n1\r\naa\r\n",
    "endless trailers": UPSERT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: 1\r\n" * 1_000,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_gets_an_envelope_and_the_server_goes_on(
    emulator: Emulator, raw: Raw, data: bytes
) -> None:
    raw.send(data)
    raw.socket.shutdown(socket.SHUT_WR)
    status, envelope = raw.answer()
    assert (status, failure(envelope)[0]) == (400, 49400)
    assert raw.ended()
    again = Raw(emulator)
    again.send(b"GET /_emulator/health HTTP/1.1\r\n\r\n")
    assert again.answer() == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "path",
    [
        b"/../../etc/passwd", b"/client/v4/accounts/a/vectorize/v2/indexes/../indexes", BASE + b"/%2e%2e",
        BASE + b"/docs%2finfo", BASE + b"/%00", BASE + b"/%ff%fe", BASE + b"//docs", b"//client/v4", BASE + b"/docs%20",
        b"/client/v4/accounts/%2e%2e/vectorize/v2/indexes/docs", BASE + b"/docs;drop", BASE + b"/" + b"a" * 5_000,
        BASE + b"/'%20OR%201=1--", b"*", b"/_emulator/../client/v4", b"/_emulator/indexes/docs/foreign/x",
    ],
)  # fmt: skip
def test_a_tricky_path_leads_nowhere(raw: Raw, path: bytes) -> None:
    raw.send(b"GET " + path + b" HTTP/1.1\r\n" + AUTH + b"\r\n")
    status, envelope = raw.answer()
    assert status == 404
    assert failure(envelope)[0] in (7003, 3000)


@pytest.mark.parametrize(
    ("path", "limit"), [(b"/docs/upsert", MAX_UPLOAD_BYTES), (b"/docs/query", MAX_JSON_BYTES)]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversized_body_is_refused(raw: Raw, path: bytes, limit: int, chunked: bool) -> None:
    size = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" if chunked else b"Content-Length: %d\r\n\r\n"
    raw.send(b"POST " + BASE + path + b" HTTP/1.1\r\n" + AUTH + size % (limit + 1))
    status, envelope = raw.answer()
    assert status == 413
    failure(envelope)


def test_who_sends_an_oversized_body_without_looking_gets_the_answer(api: Api) -> None:
    assert api.refused("POST", "/docs/query", data=bytes(MAX_JSON_BYTES + 1))[0] == 413


def test_an_upload_of_100_megabytes_is_taken(api: Api) -> None:
    body = ndjson([vector("a")])
    body += b" " * (MAX_UPLOAD_BYTES - len(body))
    api.result("POST", "/docs/upsert", data=body, headers={"Content-Type": NDJSON})


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /_emulator/health HTTP/1.1\r\nX: ",
        UPSERT + b"Content-Length: 10\r\n\r\n{",
        UPSERT + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["head", "body", "chunks"],
)
def test_a_slow_sender_is_told_and_left(raw: Raw, sent: bytes) -> None:
    raw.send(sent)
    status, envelope = raw.answer()
    assert status == 408
    failure(envelope)
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.ended()


def test_a_sender_that_trickles_is_slow_too(raw: Raw) -> None:
    began = time.monotonic()
    raw.send(UPSERT + b"Content-Length: 1000\r\n\r\n")
    raw.socket.settimeout(0.1)
    first = b""
    while not first and time.monotonic() - began < 5:
        raw.send(b"x")
        try:
            first = raw.socket.recv(12)
        except TimeoutError:
            continue
    assert first == b"HTTP/1.1 408"
    assert time.monotonic() - began < 3


def test_the_time_for_a_request_starts_with_its_first_byte(raw: Raw) -> None:
    time.sleep(0.7)
    for part in (b"GET /_emulator/health HTTP/1.1\r\n", b"\r\n"):
        raw.send(part)
        time.sleep(0.4)
    assert raw.answer()[0] == 200


def test_an_idle_connection_is_closed_without_a_word(raw: Raw) -> None:
    assert raw.ended()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /_emulator/health HTTP/1.1\r\n", UPSERT + b"Content-Length: 10\r\n\r\n{"]
)
def test_a_sender_that_goes_away_does_no_harm(emulator: Emulator, raw: Raw, api: Api, sent: bytes) -> None:
    raw.send(sent)
    raw.reader.close()
    raw.socket.close()
    assert api.info("docs")["vectorCount"] == 0


def test_a_half_closed_connection_gets_its_answer(raw: Raw) -> None:
    body = ndjson([vector("a")])
    raw.send(UPSERT + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.answer()[0] == 200
    assert raw.ended()


def test_a_body_that_ends_early_is_not_logged(raw: Raw, api: Api) -> None:
    body = ndjson([vector("a")]) + b"\n"
    raw.send(UPSERT + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body)
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.answer()[0] == 400
    assert api.info("docs")["vectorCount"] == 0


def test_an_answer_to_head_has_no_body(raw: Raw) -> None:
    for method in (b"HEAD", b"GET"):
        raw.send(method + b" " + BASE + b"/docs HTTP/1.1\r\n" + AUTH + b"\r\n")
    assert raw.status() == 405
    assert raw.answer()[0] == 200


MULTIPART = b"POST " + BASE + b"/docs/upsert HTTP/1.1\r\n" + AUTH + b"Content-Type: multipart/form-data"


@pytest.mark.parametrize(
    ("parameter", "body"),
    [
        (b"", b"--x--"), (b"; boundary=", b"--x--"), (b"; boundary=x", b"no boundary"), (b"; boundary=x", b""),
        (b"; boundary=x", b"--x\r\n\r\nno name\r\n--x--"), (b"; boundary=x", b"--x\r\nbroken header\r\n\r\n\r\n--x--"),
        (b"; boundary=x", b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n{}\r\n--x--\r\n'),
        (b"; boundary=x", b'--x\r\nContent-Disposition: form-data; name="vectors"\r\n\r\n' + ndjson([vector("a")])),
        (b"; boundary=" + b"x" * 5_000, b"--x--"),
    ],
)  # fmt: skip
def test_a_broken_multipart_body_is_40023_or_has_no_part_vectors(
    raw: Raw, parameter: bytes, body: bytes
) -> None:
    raw.send(MULTIPART + parameter + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    status, envelope = raw.answer()
    assert (status, failure(envelope)[0]) in ((400, 40023), (400, 40045))


def test_a_failure_of_the_emulator_is_an_envelope_and_is_printed(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("airflow_provider_vectorize.emulator.operations._index", lambda index: 1 / 0)
    assert api.refused("GET", "/docs")[0] == 500
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert api.info("docs")["vectorCount"] == 0
