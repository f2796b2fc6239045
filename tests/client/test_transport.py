"""What every exchange has in common: authentication, the envelope, errors, secrets, the environment."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import logging
import pickle
import socket
import threading
import time as real_time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from airflow.models.connection import Connection  # as Airflow 2.11 has it
from rich.console import Console
from rich.traceback import Traceback

from airflow_provider_vectorize.client import VectorizeClient, errors
from airflow_provider_vectorize.client.transport import _carried_by
from airflow_provider_vectorize.client.wire import LimitedAdapter, Line
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.ending import Ending, State
from tests.client.conftest import ACCOUNT, BASE, TOKEN, failure, ok


def test_a_token_goes_as_bearer(client, api):
    api.get(BASE, json=ok([]))
    client.list_indexes()
    assert api.last_request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert api.last_request.headers["User-Agent"].startswith("airflow-provider-vectorize/")


def test_the_global_key_goes_with_its_email(api):
    api.get(BASE, json=ok([]))
    VectorizeClient(ACCOUNT, email="me@example.com", api_key="k" * 37).list_indexes()
    headers = api.last_request.headers
    assert (headers["X-Auth-Email"], headers["X-Auth-Key"]) == ("me@example.com", "k" * 37)
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"api_token": ""},
        {"email": "a@b.c"},
        {"api_key": "k"},
        {"api_token": "t", "email": "a@b.c", "api_key": "k"},
        {"api_token": "line\nbreak"},
        {"api_token": "tökèn"},
    ],
)
def test_credentials_that_cannot_work_are_refused(credentials):
    with pytest.raises(errors.InvalidArgumentError):
        VectorizeClient(ACCOUNT, **credentials)


@pytest.mark.parametrize("account", ["", "a/b", "x" * 33, "a b"])
def test_an_account_id_that_cannot_be_one_is_refused(account):
    with pytest.raises(errors.InvalidArgumentError, match="account_id"):
        VectorizeClient(account, TOKEN)


@pytest.mark.parametrize(("name", "value"), [("timeout", 0), ("timeout", -1), ("max_attempts", 0)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(errors.InvalidArgumentError, match=name):
        VectorizeClient(ACCOUNT, TOKEN, **{name: value})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, 10000, errors.AuthenticationError),
        (401, 1234, errors.AuthenticationError),
        (400, 3000, errors.IndexNotFoundError),
        (404, 3000, errors.IndexNotFoundError),
        (410, 3005, errors.IndexNotFoundError),
        (409, 3002, errors.IndexExistsError),
        (400, 3002, errors.IndexExistsError),
        (400, 3001, errors.InvalidIndexError),
        (400, 3003, errors.InvalidIndexError),
        (400, 40004, errors.MetadataIndexExistsError),
        (400, 40005, errors.MetadataIndexNotFoundError),
        (400, 40008, errors.InvalidVectorError),
        (400, 40009, errors.InvalidVectorError),
        (400, 40012, errors.InvalidVectorError),
        (400, 40016, errors.InvalidVectorError),
        (400, 40018, errors.InvalidVectorError),
        (400, 40023, errors.InvalidVectorError),
        (400, 40006, errors.VectorizeApiError),
        (404, 7003, errors.VectorizeApiError),
    ],
)
def test_the_code_chooses_the_error(client, api, status, code, kind):
    api.get(BASE, status_code=status, json=failure(code, "why not"))
    with pytest.raises(
        errors.VectorizeApiError, match=rf"list_indexes failed: HTTP {status}, code {code}: why not"
    ) as e:
        client.list_indexes()
    assert type(e.value) is kind
    assert e.value.permanent
    assert api.call_count == 1


def test_an_error_keeps_what_the_api_said(client, api):
    body = failure(40012, "wrong length", documentation_url="https://docs", source={"pointer": "/vectors/3"})
    api.post(f"{BASE}/docs/upsert", status_code=400, json=body, headers={"cf-ray": "8f00-AMS"})
    with pytest.raises(errors.InvalidVectorError) as caught:
        client.upsert("docs", b"{}\n")
    error = caught.value
    assert (error.status, error.code, error.operation) == (400, 40012, "upsert")
    assert (error.documentation_url, error.pointer, error.ray_id) == (
        "https://docs",
        "/vectors/3",
        "8f00-AMS",
    )
    assert "index 'docs'" in str(error)
    assert "wrong length" in error.reason


@pytest.mark.parametrize(
    "answer",
    [
        {"json": {"success": False, "errors": [], "messages": [], "result": {"mutationId": "m"}}},
        {"json": {"result": {"mutationId": "m"}}},
        {"json": {"success": "true", "result": {"mutationId": "m"}}},
        {"text": "<html>Please log in</html>"},
        {"text": ""},
        {"json": [1, 2]},
    ],
)
def test_an_answer_that_does_not_say_success_is_an_error(client, api, answer):
    api.post(f"{BASE}/docs/upsert", **answer)
    with pytest.raises(errors.UnexpectedAnswerError, match="does not say success"):
        client.upsert("docs", b"{}\n")
    assert api.call_count == 1


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_2xx_that_says_success_is_one(client, api, status):
    api.post(f"{BASE}/docs/upsert", json=ok({"mutationId": "m"}), status_code=status)
    assert client.upsert("docs", b"{}\n").id == "m"


@pytest.mark.parametrize(
    ("errors_", "words"),
    [
        (
            [
                {
                    "code": 6003,
                    "message": "Invalid request headers",
                    "error_chain": [{"code": 6111, "message": "Invalid format for Authorization header"}],
                }
            ],
            "Invalid format for Authorization header [6111]",
        ),
        ([{"code": 6111, "message": "Invalid format"}], "Invalid format"),
        ([{"code": 10001, "message": "Unable to authenticate request"}], "Unable to authenticate"),
        ([{"code": 9106, "message": "Missing headers"}], "Missing headers"),
    ],
)
def test_headers_that_are_refused_point_to_the_fields_of_the_connection(client, api, errors_, words):
    api.post(f"{BASE}/docs/upsert", json={"success": False, "errors": errors_}, status_code=400)
    with pytest.raises(errors.AuthenticationError) as caught:
        client.upsert("docs", b"{}\n")
    assert words in str(caught.value)
    assert "password an API token" in str(caught.value)
    assert "'Bearer '" in str(caught.value)


def test_control_characters_of_a_server_are_escaped_in_errors_and_in_the_log(client, api, caplog):
    chain = {"code": 1, "message": "\x07deep", "error_chain": [{"code": 2, "message": "\x9b2J"}]}
    body = {
        "success": False,
        "errors": [{"code": 40012, "message": "\x1b[31mred\r\nforged", "error_chain": [chain]}],
    }
    api.post(f"{BASE}/docs/upsert", json=body, status_code=400)
    with pytest.raises(errors.InvalidVectorError) as caught:
        client.upsert("docs", b"{}\n")
    assert str(caught.value).isprintable()
    assert "\\x1b[31mred\\r\\nforged" in str(caught.value)
    api.post(
        f"{BASE}/docs/insert",
        json=ok({"mutationId": "m"}) | {"messages": [{"code": 1, "message": "a\x1b[2J"}]},
    )
    with caplog.at_level("INFO"):
        assert client.insert("docs", b"{}\n").messages == ("a\\x1b[2J [1]",)
    assert "\x1b" not in caplog.text


def test_success_false_with_status_200_keeps_the_reason(client, api):
    api.post(f"{BASE}/docs/upsert", json=failure(40099, "not today"))
    with pytest.raises(errors.UnexpectedAnswerError, match="HTTP 200, code 40099: not today"):
        client.upsert("docs", b"{}\n")


def test_redirects_are_not_followed(client, api):
    api.get(BASE, status_code=302, headers={"Location": "https://elsewhere.example/"})
    with pytest.raises(errors.UnexpectedAnswerError, match=r"redirects are not followed .*elsewhere"):
        client.list_indexes()
    assert api.call_count == 1


def test_messages_are_logged_and_returned(client, api, caplog):
    caplog.set_level(logging.INFO)
    remark = {"code": 1000, "message": "soon deprecated"}
    api.post(f"{BASE}/docs/upsert", json=ok({"mutationId": "m"}, messages=[remark]))
    assert client.upsert("docs", b"{}\n").messages == ("soon deprecated [1000]",)
    assert "soon deprecated" in caplog.text


def test_an_endless_answer_is_cut(client, api, monkeypatch):
    monkeypatch.setattr("airflow_provider_vectorize.client.transport.MAX_ANSWER_BYTES", 1_000)
    api.get(BASE, content=b"x" * 5_000)
    with pytest.raises(errors.TransportError, match="longer than 1000 bytes"):
        client.list_indexes()
    assert api.call_count == 1


def test_a_token_that_an_answer_repeats_is_masked_before_the_answer_is_cut(client, api):
    api.get(BASE, text="x" * 190 + TOKEN)
    with pytest.raises(errors.UnexpectedAnswerError) as caught:
        client.list_indexes()
    assert TOKEN[:5] not in str(caught.value)


def test_a_long_error_text_is_bounded(client, api):
    api.get(BASE, status_code=400, json=failure(40006, "x" * 100_000))
    with pytest.raises(errors.VectorizeApiError) as caught:
        client.list_indexes()
    assert len(str(caught.value)) < 2_000


def test_the_token_is_never_seen(client, api, caplog):
    caplog.set_level(logging.DEBUG)
    api.get(
        BASE, status_code=400, json=failure(40006, f"bad header Bearer {TOKEN}"), headers={"cf-ray": TOKEN}
    )
    with pytest.raises(errors.VectorizeApiError) as caught:
        client.list_indexes()
    seen = f"{caught.value!r} {caught.value.__dict__} {client!r} {client._transport!r} {caplog.text}"
    assert TOKEN not in seen


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_pickles(name):
    kind = getattr(errors, name)
    if issubclass(kind, errors.VectorizeApiError):
        error = kind("text", status=400, code=1, operation="upsert", ray_id="r")
    elif kind is errors.InvalidRecordError:
        error = kind("too long", source="f", line=3, record_id="a", code="id_too_long")
    elif kind is errors.TransportError:
        error = kind("text", operation="upsert", transient=False)
    else:
        error = kind("text")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__dict__) == (kind, str(error), error.__dict__)


def succeed(handler, result):
    body = b'{"success":true,"errors":[],"messages":[],"result":' + result + b"}"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class Recorder(http.server.BaseHTTPRequestHandler):
    """Answer everything with an empty list of indexes and remember the headers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        succeed(self, b"[]")

    def log_message(self, *args):
        pass


@pytest.fixture
def recorder():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.daemon_threads = True
        server.seen = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def test_netrc_and_proxies_of_the_environment_change_nothing(recorder, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = VectorizeClient(
        ACCOUNT, TOKEN, base_url=f"http://127.0.0.1:{recorder.server_port}", max_attempts=1
    )
    assert client.list_indexes() == []
    [(path, headers)] = recorder.seen
    assert path == f"/client/v4/accounts/{ACCOUNT}/vectorize/v2/indexes"
    assert headers["Authorization"] == f"Bearer {TOKEN}"


def test_proxies_of_the_environment_are_used_beyond_loopback(monkeypatch, time):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = VectorizeClient(ACCOUNT, TOKEN, base_url="https://vectorize.invalid", max_attempts=1)
    with pytest.raises(errors.TransportError, match="ProxyError"):
        client.list_indexes()


def test_a_session_can_be_brought_along(api):
    api.get(BASE, json=ok([]))
    session = requests.Session()
    session.headers["X-Mine"] = "yes"
    VectorizeClient(ACCOUNT, TOKEN, session=session).list_indexes()
    assert api.last_request.headers["X-Mine"] == "yes"


class Slow(http.server.BaseHTTPRequestHandler):
    """Take a body at 20 MB/s, and count it."""

    def do_POST(self):
        left = int(self.headers["Content-Length"])
        while left and (part := self.rfile.read(min(left, 1 << 20))):
            left -= len(part)
            real_time.sleep(0.05)
        self.server.missing = left
        succeed(self, b'{"mutationId":"m"}')

    def log_message(self, *args):
        pass


def test_a_body_may_take_longer_than_the_timeout_as_long_as_it_moves():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = VectorizeClient(
            ACCOUNT, TOKEN, base_url=f"http://127.0.0.1:{server.server_port}", timeout=1.0, max_attempts=1
        )
        started = real_time.monotonic()
        assert client.upsert("docs", bytes(48 << 20)).id == "m"
        assert real_time.monotonic() - started > 2.0, "so much longer that it would have timed out"
        assert server.missing == 0
        server.shutdown()


class Silent(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.arrived.set()
        self.server.release.wait(30)

    def log_message(self, *args):
        pass


def test_abort_cuts_the_request_under_way_and_refuses_the_next():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        server.daemon_threads = True
        server.arrived, server.release = threading.Event(), threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = VectorizeClient(
            ACCOUNT, TOKEN, base_url=f"http://127.0.0.1:{server.server_port}", timeout=30
        )

        def abort_once_it_arrived():
            server.arrived.wait(10)
            client.abort()

        threading.Thread(target=abort_once_it_arrived, daemon=True).start()
        started = real_time.monotonic()
        with pytest.raises(errors.TransportError, match="was cut: the client was told to stop"):
            client.list_indexes()
        assert real_time.monotonic() - started < 4
        with pytest.raises(errors.TransportError, match="was not sent"):
            client.list_indexes()
        server.release.set()
        server.shutdown()


def test_connections_through_a_proxy_keep_to_the_limits_as_well(recorder):
    session = requests.Session()
    session.mount("http://", LimitedAdapter())
    proxies = {"http": f"http://127.0.0.1:{recorder.server_port}"}
    line = Line(5, 5)
    with _carried_by(line):
        for _ in range(2):
            assert session.get("http://vectorize.invalid/", proxies=proxies).status_code == 200
        assert [path for path, _ in recorder.seen] == ["http://vectorize.invalid/"] * 2
        line.cut()
        with pytest.raises(requests.ConnectionError):
            session.get("http://vectorize.invalid/", proxies=proxies)
    assert len(recorder.seen) == 2


def test_success_beside_errors_is_none(client, api):
    api.post(
        f"{BASE}/docs/upsert",
        json=failure(40099, "not today") | {"success": True, "result": {"mutationId": "m"}},
    )
    with pytest.raises(errors.UnexpectedAnswerError, match="code 40099: not today"):
        client.upsert("docs", b"{}\n")


@pytest.mark.parametrize("said", [["not today"], {"code": 1}, "not today", 1])
def test_success_beside_errors_of_another_shape_is_none_either(client, api, said):
    api.post(f"{BASE}/docs/upsert", json=ok({"mutationId": "m"}, errors=said))
    with pytest.raises(errors.UnexpectedAnswerError, match="does not say success"):
        client.upsert("docs", b"{}\n")


# The clock of an exchange


@pytest.fixture
def raw_server():
    """Serve connections by a function of the socket, one thread each."""
    with contextlib.ExitStack() as stack:

        def serve(handle: Callable[[socket.socket], None]) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        threading.Thread(target=attend, args=(connection,), daemon=True).start()

            def attend(connection: socket.socket) -> None:
                with connection, contextlib.suppress(OSError):
                    handle(connection)

            threading.Thread(target=accept, daemon=True).start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield serve


class TestConnecting:
    """All addresses of a host together have the time of one, and a stop reaches it."""

    @pytest.fixture
    def full(self, monkeypatch):
        """A host of four addresses that never answer."""
        with socket.socket() as listener, contextlib.ExitStack() as waiting:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            for _ in range(3):  # the backlog is full
                sock = waiting.enter_context(socket.socket())
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(address)
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)] * 4
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            yield f"http://127.0.0.1:{address[1]}"

    def test_it_ends_by_the_clock(self, full):
        client = VectorizeClient(ACCOUNT, TOKEN, base_url=full, timeout=2, max_attempts=1)
        started = real_time.monotonic()
        with pytest.raises(errors.TransportError, match="Failed to establish a new connection"):
            client.list_indexes()
        assert real_time.monotonic() - started < 6

    def test_it_ends_when_it_is_cut(self, full):
        ending = Ending()
        client = VectorizeClient(ACCOUNT, TOKEN, base_url=full, max_attempts=1).within(ending)
        threading.Timer(0.5, ending.come_to, (State.OVER,)).start()
        started = real_time.monotonic()
        with pytest.raises(errors.TransportError, match="told to stop"):
            client.list_indexes()
        assert real_time.monotonic() - started < 6

    def test_the_next_address_is_tried(self, full, raw_server, monkeypatch):
        def answer(connection):
            connection.recv(1 << 16)
            body = json.dumps(ok([])).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        there = ("127.0.0.1", int(raw_server(answer).rpartition(":")[2]))
        found = [*socket.getaddrinfo("dead", 1), (socket.AF_INET, socket.SOCK_STREAM, 6, "", there)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        client = VectorizeClient(ACCOUNT, TOKEN, base_url=full, timeout=3, max_attempts=1)
        assert list(client.list_indexes()) == []


@pytest.mark.parametrize("place", [b"http://\xff\xfe/", b"http://[::bad/", b"//"])
def test_where_a_redirect_leads_is_not_even_looked_at(raw_server, place):
    def redirect(connection):
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % place)

    with pytest.raises(errors.UnexpectedAnswerError, match="redirects are not followed"):
        VectorizeClient(ACCOUNT, TOKEN, base_url=raw_server(redirect), max_attempts=1).list_indexes()


@pytest.mark.parametrize("mutation_id", ["m-1\n", "m\n1", "m 1", "m\x1b1", "m" * 37, ""])
def test_a_mutation_id_that_is_none_is_refused(raw_server, mutation_id):
    answer = json.dumps(ok({"mutationId": mutation_id})).encode()

    def accept(connection):
        received = b""
        while not received.endswith(b"\r\n\r\n{}\n"):
            received += connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    client = VectorizeClient(ACCOUNT, TOKEN, base_url=raw_server(accept))
    with pytest.raises(errors.UnexpectedAnswerError, match="no mutation id of 1 to 36 visible characters"):
        client.upsert("docs", b"{}\n")


def drip(connection, head, drop):
    connection.recv(1 << 16)
    connection.sendall(head)
    for _ in range(600):
        connection.sendall(drop)
        real_time.sleep(0.02)


DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b" "),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize(("head", "drop"), DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips_ends_by_the_clock(raw_server, head, drop):
    url = raw_server(lambda connection: drip(connection, head, drop))
    client = VectorizeClient(ACCOUNT, TOKEN, base_url=url, timeout=0.2, max_attempts=1)
    started = real_time.monotonic()
    with pytest.raises(errors.TransportError):
        client.list_indexes()
    assert real_time.monotonic() - started < 4 * 0.2 + 1


@pytest.mark.parametrize(("head", "drop"), DRIPS.values(), ids=DRIPS)
def test_a_call_with_a_deadline_ends_by_then_though_the_timeout_is_long(raw_server, head, drop):
    url = raw_server(lambda connection: drip(connection, head, drop))
    client = VectorizeClient(ACCOUNT, TOKEN, base_url=url, timeout=60)
    started = real_time.monotonic()
    with pytest.raises(errors.TransportError):
        client.within(seconds=0.5).list_indexes()
    assert real_time.monotonic() - started < 1.5


def test_a_wait_beyond_the_deadline_is_not_begun(client, api, time):
    api.get(BASE, status_code=429, headers={"Retry-After": "300"})
    with pytest.raises(errors.TransportError, match="beyond its deadline"):
        client.within(seconds=60).list_indexes()
    assert time.slept == []


def test_a_body_that_moves_on_leaves_however_long_it_takes(raw_server):
    size = 6 << 20

    def slow(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        got = 0
        while got < size:
            got += len(connection.recv(1 << 16))
            real_time.sleep(0.02)
        body = b'{"success":true,"errors":[],"messages":[],"result":{"mutationId":"m"}}'
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    client = VectorizeClient(ACCOUNT, TOKEN, base_url=raw_server(slow), timeout=0.5, max_attempts=1)
    started = real_time.monotonic()
    assert client.upsert("docs", bytes(size)).id == "m"
    assert real_time.monotonic() - started > 1, "2 MiB of it took longer than the timeout"


def test_a_body_that_does_not_move_ends_with_the_timeout(raw_server):
    hold = threading.Event()
    client = VectorizeClient(
        ACCOUNT, TOKEN, base_url=raw_server(lambda connection: hold.wait(20)), timeout=0.3, max_attempts=1
    )
    with pytest.raises(errors.TransportError):
        client.upsert("docs", bytes(64 << 20))
    hold.set()


def test_the_pool_is_quiet_with_64_requests_under_way(raw_server, caplog):
    here = threading.Barrier(64)

    def answer(connection):
        connection.recv(1 << 16)
        here.wait(20)
        body = b'{"success":true,"errors":[],"messages":[],"result":[]}'
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.recv(1)

    client = VectorizeClient(ACCOUNT, TOKEN, base_url=raw_server(answer))
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda _: client.list_indexes(), range(64))) == [[]] * 64
    assert "pool is full" not in caplog.text


# Being told to stop


@pytest.mark.parametrize("state", [State.STOPPING, State.OVER])
def test_a_wait_ends_when_its_work_does(raw_server, state):
    answer = b"HTTP/1.1 429 Slow down\r\nRetry-After: 300\r\nContent-Length: 0\r\n\r\n"

    def throttle(connection):
        connection.recv(1 << 16)
        connection.sendall(answer)

    client = VectorizeClient(ACCOUNT, TOKEN[::-1], base_url=raw_server(throttle))
    ending, outcomes = Ending(), []

    def call() -> None:
        try:
            client.within(ending).list_indexes()
        except errors.TransportError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=call, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    real_time.sleep(0.3)
    ending.come_to(state)
    for thread in threads:
        thread.join(2)
    assert len(outcomes) == 3
    assert all("told to stop" in each for each in outcomes)


# Credentials


def refusing(token):
    def refuse(request, context):
        if request.headers["Authorization"] == f"Bearer {token}":
            return ok([])
        context.status_code = 403
        return failure(10000, "Authentication error")

    return refuse


def test_a_token_that_was_replaced_is_read_anew_once_and_the_call_goes_on(make_client, api):
    api.get(BASE, json=refusing("new"))
    client = VectorizeClient(ACCOUNT, TOKEN, renew=lambda: "new")
    assert client.list_indexes() == []
    assert client.within(seconds=10).list_indexes() == []
    assert api.call_count == 3


@pytest.mark.parametrize("fresh", [TOKEN, "wrong"])
def test_a_token_that_is_refused_again_is_an_error(api, fresh):
    api.get(BASE, json=refusing("new"))
    with pytest.raises(errors.AuthenticationError):
        VectorizeClient(ACCOUNT, TOKEN, renew=lambda: fresh).list_indexes()
    assert api.call_count == (1 if fresh == TOKEN else 2)


def shown_locals(error: BaseException) -> str:
    console = Console(file=io.StringIO(), width=500)
    trace = Traceback.from_exception(
        type(error),
        error,
        error.__traceback__,
        show_locals=True,
        locals_max_string=None,
        locals_max_length=None,
    )
    console.print(trace)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "failing",
    [
        lambda: VectorizeClient(ACCOUNT, TOKEN, base_url="http://127.0.0.1:9", max_attempts=1).list_indexes(),
        lambda: VectorizeClient(ACCOUNT, TOKEN, base_url="http://127.0.0.1:9", max_attempts=1).upsert(
            "docs", b"x"
        ),
        lambda: VectorizeClient("a/b", TOKEN),
        lambda: VectorizeClient(ACCOUNT, TOKEN, timeout=0),
        lambda: VectorizeClient(ACCOUNT, TOKEN + "\n"),
        lambda: VectorizeClient(ACCOUNT, TOKEN, email="a@b.c"),
        lambda: ConnectionSettings(ACCOUNT, TOKEN, timeout=0).client(),
        lambda: ConnectionSettings.from_connection(
            Connection(conn_id="c", login=ACCOUNT, password=TOKEN, extra='{"timeout": 0}')
        ),
    ],
)
def test_a_traceback_that_shows_locals_does_not_show_the_token(failing):
    with pytest.raises(errors.VectorizeError) as caught:
        failing()
    shown = shown_locals(caught.value)
    assert "locals" in shown
    # The lines of this test name the constant.
    assert TOKEN not in shown
