"""What every exchange has in common: authentication, the envelope, errors, secrets, the environment."""

from __future__ import annotations

import http.server
import logging
import pickle
import threading
import time as real_time

import pytest
import requests

from airflow_provider_vectorize.client import VectorizeClient, errors
from airflow_provider_vectorize.client.transport import AbortableAdapter
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
        {"json": ok({"mutationId": "m"}), "status_code": 202},
    ],
)
def test_an_answer_that_does_not_say_success_is_an_error(client, api, answer):
    api.post(f"{BASE}/docs/upsert", **answer)
    with pytest.raises(errors.UnexpectedAnswerError, match="does not say success"):
        client.upsert("docs", b"{}\n")
    assert api.call_count == 1


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
    seen = f"{caught.value!r} {caught.value.__dict__} {client!r} {client._transport._auth!r} {caplog.text}"
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


def test_a_connection_that_is_made_after_the_abort_is_cut(recorder):
    class Late(AbortableAdapter):
        def _opened(self, sock):
            self.abort()  # in the moment between the look at the flag and the connection
            super()._opened(sock)

    session = requests.Session()
    session.mount("http://", Late())
    with pytest.raises(requests.ConnectionError, match="told to stop"):
        session.get(f"http://127.0.0.1:{recorder.server_port}/")
    assert recorder.seen == []


def test_connections_through_a_proxy_are_remembered_as_well(recorder):
    adapter = AbortableAdapter()
    session = requests.Session()
    session.mount("http://", adapter)
    proxies = {"http": f"http://127.0.0.1:{recorder.server_port}"}
    for _ in range(2):
        assert session.get("http://vectorize.invalid/", proxies=proxies).status_code == 200
    assert [path for path, _ in recorder.seen] == ["http://vectorize.invalid/"] * 2
    adapter.abort()
    with pytest.raises(requests.ConnectionError):
        session.get("http://vectorize.invalid/", proxies=proxies)
    assert len(recorder.seen) == 2
