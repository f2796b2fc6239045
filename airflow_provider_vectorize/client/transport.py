"""The HTTP stack: one request out, one checked envelope back."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import orjson
import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import PoolManager
from urllib3.connectionpool import HTTPConnectionPool

from airflow_provider_vectorize import __version__
from airflow_provider_vectorize.client.address import is_loopback
from airflow_provider_vectorize.client.errors import (
    ServerError,
    TransportError,
    UnexpectedAnswerError,
    VectorizeApiError,
    api_error_class,
)
from airflow_provider_vectorize.client.retry import retrying
from airflow_provider_vectorize.client.throttle import shared_gate
from airflow_provider_vectorize.client.types import Body

log = logging.getLogger(__name__)

#: Seconds to connect, and to hand :data:`PIECE_BYTES` of a body to the network.
CONNECT_TIMEOUT = 10.0
#: Bytes of a body that are sent at a time: ``sendall`` takes the time limit of its socket for all that it is given,
#: and nobody knows how long a whole body may take.
PIECE_BYTES = 2 * 1024 * 1024
#: Far above any answer of the API; it bounds what a wrong address can make us hold.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_TEXT_CHARS = 1_000
USER_AGENT = f"airflow-provider-vectorize/{__version__}"


class TokenAuth(AuthBase):
    """An API token. An ``AuthBase``, since a header set by hand gives way to a ``.netrc``.

    :param token: the token; never in the repr.
    """

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        self.secret = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign the request."""
        request.headers.update(self._headers)
        return request


class GlobalKeyAuth(TokenAuth):
    """The legacy pair of e-mail and Global API key.

    :param email: the user.
    :param key: the key; never in the repr.
    """

    def __init__(self, email: str, key: str) -> None:
        self._headers = {"X-Auth-Email": email, "X-Auth-Key": key}
        self.secret = key


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer.

    :param result: the ``result`` of the envelope.
    :param messages: what the API remarked, as text.
    :param attempts: requests that it took.
    """

    result: Any
    messages: tuple[str, ...]
    attempts: int


class Transport:
    """Send requests to one account, with authentication, retries and the checks that every answer has to pass.

    :param base_url: a normalized address, ending in ``/client/v4``.
    :param account_id: part of every path.
    :param auth: the credentials.
    :param timeout: seconds to wait for the next byte of an answer; at most :data:`CONNECT_TIMEOUT` of them to connect,
        and to hand over a piece of a body.
    :param max_attempts: see :mod:`~airflow_provider_vectorize.client.retry`.
    :param session: the requests session to use.
    :param sleep: waits for a number of seconds.
    :param clock: tells seconds, monotonic.
    """

    def __init__(
        self,
        base_url: str,
        account_id: str,
        auth: TokenAuth,
        *,
        timeout: float,
        max_attempts: int,
        session: requests.Session,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._root = base_url
        self._auth = auth
        self._timeout = (min(CONNECT_TIMEOUT, timeout), timeout)
        self._max_attempts = max_attempts
        self._session = session
        self._sleep = sleep
        self._aborted = threading.Event()
        # Plain http to this machine carries the token: no proxy of the environment may get it.
        local = is_loopback(urlsplit(base_url).hostname or "")
        self._proxies: Any = {"http": None, "https": None, "all": None} if local else {}
        credentials = hashlib.sha256(auth.secret.encode()).hexdigest()
        self._gate = shared_gate(base_url, account_id, credentials, clock=clock)

    def call(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        place: str = "",
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        ndjson: Body | None = None,
    ) -> Answer:
        """Make a call, repeating it as the retry policy says.

        :param operation: name of the call, such as ``upsert``.
        :param method: HTTP method.
        :param path: below the account, its parts quoted.
        :param place: what the call is about, for messages, such as ``index 'docs'``.
        :param params: query parameters.
        :param json: body, sent as JSON.
        :param ndjson: body, sent as it is.
        :raises VectorizeApiError: the API said no. ``after_lost_answer`` is set when an earlier attempt may have
            been carried out all the same.
        :raises TransportError: no answer arrived.
        """
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        body: Any = None
        if ndjson is not None:
            headers["Content-Type"] = "application/x-ndjson"
            body = _Paced(ndjson)
        elif json is not None:
            headers["Content-Type"] = "application/json"
            body = orjson.dumps(json, option=orjson.OPT_SERIALIZE_NUMPY)
        request = requests.Request(
            method,
            f"{self._root}{path}",
            headers=headers,
            params=dict(params or {}),
            data=body,
            auth=self._auth,
        )
        name = f"{operation} ({place})" if place else operation
        attempts = 0
        answer_lost = False

        def attempt() -> Answer:
            nonlocal attempts, answer_lost
            attempts += 1
            try:
                with self._gate.slot(self._sleep):
                    status, response_headers, content = self._exchange(name, request)
                return self._answer(name, operation, status, response_headers, content, attempts)
            except VectorizeApiError as error:
                error.after_lost_answer = answer_lost
                answer_lost = answer_lost or isinstance(error, ServerError)
                raise
            except TransportError:
                answer_lost = True
                raise

        return retrying(max_attempts=self._max_attempts, sleep=self._sleep, gate=self._gate)(attempt)

    def abort(self) -> None:
        """Cut the requests under way and refuse new ones; safe to call from another thread or a signal handler."""
        self._aborted.set()
        for adapter in self._session.adapters.values():
            if isinstance(adapter, AbortableAdapter):
                adapter.abort()

    def _exchange(self, name: str, request: requests.Request) -> tuple[int, Mapping[str, str], bytes]:
        if self._aborted.is_set():
            raise TransportError(f"{name} was not sent: the client was told to stop", transient=False)
        try:
            prepared = self._session.prepare_request(request)
            settings = self._session.merge_environment_settings(
                prepared.url, dict(self._proxies), True, self._session.verify, None
            )
            with self._session.send(
                prepared, timeout=self._timeout, allow_redirects=False, **settings
            ) as response:
                content = bytearray()
                for part in response.iter_content(1 << 16):
                    content += part
                    if len(content) > MAX_ANSWER_BYTES:
                        raise TransportError(
                            f"{name} failed: the answer is longer than {MAX_ANSWER_BYTES} bytes",
                            transient=False,
                        )
                return response.status_code, response.headers, bytes(content)
        except requests.RequestException as error:
            if self._aborted.is_set():
                raise TransportError(
                    f"{name} was cut: the client was told to stop", transient=False
                ) from None
            # A certificate that is wrong stays wrong.
            transient = "CERTIFICATE_VERIFY_FAILED" not in str(error)
            raise TransportError(
                f"{name} got no answer: {self._clean(type(error).__name__ + ': ' + str(error))}",
                transient=transient,
            ) from error

    def _answer(
        self,
        name: str,
        operation: str,
        status: int,
        headers: Mapping[str, str],
        content: bytes,
        attempts: int,
    ) -> Answer:
        envelope = _parse(content)
        messages = tuple(self._clean(_say(item)) for item in _items(envelope.get("messages")))
        for message in messages:
            log.info("%s: the API remarks: %s", name, message)
        if status in (200, 201) and envelope.get("success") is True:
            return Answer(envelope.get("result"), messages, attempts)

        errors = _items(envelope.get("errors"))
        first = errors[0] if errors else {}
        code = first.get("code")
        code = code if isinstance(code, int) else None
        # The first code stands in front already.
        reason = self._clean(
            "; ".join([_say(first | {"code": None}), *map(_say, errors[1:])]) if errors else ""
        )
        kind = api_error_class(status, code)
        text = f"{name} failed: HTTP {status}"
        if code is not None:
            text += f", code {code}"
        if reason:
            text += f": {reason}"
        elif 300 <= status < 400:
            text += f": redirects are not followed (to {self._clean(headers.get('Location', 'nowhere'))!r})"
        elif kind is UnexpectedAnswerError:
            text += f": the answer does not say success: {self._clean(content[:4096].decode(errors='replace'))[:200]!r}"
        ray_id = self._clean(headers.get("cf-ray"))
        if ray_id:
            text += f" (ray {ray_id})"
        if kind.hint:
            text += f". {kind.hint}"
        source = first.get("source")
        raise kind(
            text,
            status=status,
            code=code,
            reason=reason,
            operation=operation,
            documentation_url=self._clean(first.get("documentation_url")) or None,
            pointer=self._clean(source.get("pointer")) or None if isinstance(source, dict) else None,
            ray_id=ray_id or None,
            retry_after=_seconds(headers.get("Retry-After")) if status == 429 else None,
        )

    def _clean(self, value: Any) -> str:
        # What comes from outside ends up in logs: bounded, and without the secret should it be repeated there.
        text = "" if value is None else str(value).replace(self._auth.secret, "***")
        return text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + " ..."


class _Paced:
    """A body that is sent in pieces, each with a time limit of its own.

    :param body: all of it.
    """

    def __init__(self, body: Body) -> None:
        self._body = body

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[memoryview]:
        for part in (self._body,) if isinstance(self._body, bytes | bytearray) else self._body:
            view = memoryview(part)
            for at in range(0, len(view), PIECE_BYTES):
                yield view[at : at + PIECE_BYTES]


class AbortableAdapter(HTTPAdapter):
    """An adapter whose connections can be cut from another thread, those to a proxy too."""

    def __init__(self, **kwargs: Any) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._aborted = False
        # A signal handler may abort while its own thread is connecting.
        self._lock = threading.RLock()
        super().__init__(**kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager of a kind that remembers the sockets."""
        super().init_poolmanager(*args, **kwargs)
        self._remember(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Give the pool manager of a proxy, of that kind too."""
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            self._remember(manager)
        return manager

    def abort(self) -> None:
        """Cut every connection and allow no new one; a request under way fails with a connection error."""
        with self._lock:
            self._aborted = True
            for sock in list(self._sockets):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _remember(self, manager: PoolManager) -> None:
        manager.pool_classes_by_scheme = {
            scheme: self._remembering(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
        }

    def _remembering(self, pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        opened = self._opened

        class Connection(pool.ConnectionCls):  # type: ignore[misc, name-defined]  # a base chosen at run time
            def connect(self) -> None:
                """Connect, and remember the socket."""
                super().connect()
                opened(self.sock)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    def _opened(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.add(sock)
            if self._aborted:
                raise ConnectionAbortedError("told to stop")


def _parse(content: bytes) -> Mapping[str, Any]:
    try:
        envelope = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _say(item: Mapping[str, Any]) -> str:
    text = str(item.get("message") or "(no message)")
    if code := item.get("code"):
        text = f"{text} [{code}]"
    if url := item.get("documentation_url"):
        text = f"{text}, see {url}"
    return text


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdecimal() else None
