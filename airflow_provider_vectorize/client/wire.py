"""What the sockets of a request know of it: how long it may take, and whether it was cut.

``requests`` and ``urllib3`` know two time limits: to connect, and to wait for the next bytes. Neither ends an answer
that drips, and the first also holds for a body to leave. So the connections here take their limits from the
:class:`Line` of the request they carry.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import socket
import termios
import time
from contextvars import ContextVar
from http.client import HTTPResponse
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.connection import allowed_gai_family

#: Connections that are kept; a load may have 64 requests under way.
POOL_SIZE = 128

#: Seconds to connect.
CONNECT_TIMEOUT = 10.0

#: Of the request that this thread sends.
current_line: ContextVar[Line | None] = ContextVar("current_line", default=None)


class Line:
    """Limits of one request.

    :param progress: seconds within which some bytes must leave, or arrive.
    :param whole: seconds for all of it.
    """

    def __init__(self, progress: float, whole: float) -> None:
        self._progress = progress
        self._end = time.monotonic() + whole
        self._sock: socket.socket | None = None
        self._cut = False
        self._waiting = bytes(4)

    def cut(self) -> None:
        """End the request; safe to call from another thread or a signal handler."""
        self._cut = True
        if (sock := self._sock) is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of TLS would say goodbye first

    def run_over(self, sock: socket.socket) -> None:
        """Take note of the socket that carries the request, and give it the time until the next progress.

        :raises OSError: the request was cut, or its time is up.
        """
        self._sock = sock
        if self._cut:
            raise ConnectionAbortedError("told to stop")
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole exchange is up")
        sock.settimeout(min(self._progress, left))

    def moved(self, sock: socket.socket) -> bool:
        """Tell whether the bytes that wait in the socket to leave have changed since this was last asked."""
        before, waiting = self._waiting, bytearray(4)
        with contextlib.suppress(OSError):  # not every system can tell
            fcntl.ioctl(sock, termios.TIOCOUTQ, waiting)
        self._waiting = bytes(waiting)
        return self._waiting != before


class _Received(io.RawIOBase):
    """What arrives on a socket, within the limits of the line."""

    def __init__(self, sock: socket.socket, line: Line) -> None:
        self._sock = sock
        self._line = line
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open, as http.client expects it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._line.run_over(self._sock)
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                if not self._line.moved(self._sock):  # the end of the body may still be leaving
                    raise

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Receiver:
    """Stands for a socket where ``http.client`` makes a file of one."""

    def __init__(self, sock: socket.socket, line: Line) -> None:
        self._sock = sock
        self._line = line

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Received(self._sock, self._line))


class _Limited:
    """What turns a class of connections into one that keeps to the limits of the line."""

    sock: Any
    host: str
    port: int
    timeout: float | None
    socket_options: Any
    _dns_host: str

    def _new_conn(self) -> socket.socket:
        """Connect to one of the addresses of the host; all of them together have the time that one has in urllib3."""
        line = current_line.get()
        if line is None:
            return super()._new_conn()  # type: ignore[misc,no-any-return]  # of the class that this is mixed into
        end = time.monotonic() + (self.timeout or CONNECT_TIMEOUT)
        try:
            found = socket.getaddrinfo(
                self._dns_host, self.port, family=allowed_gai_family(), type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, f"Failed to resolve '{self.host}': {error}") from error  # type: ignore[arg-type]
        failure: OSError = OSError("the host has no address")
        for number, (family, kind, protocol, _, address) in enumerate(found):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                line.run_over(sock)
                sock.settimeout(max(0.001, (end - time.monotonic()) / (len(found) - number)))
                sock.connect(address)
                line.run_over(sock)
                sock.settimeout(max(0.001, end - time.monotonic()))  # TLS shakes hands within what is left
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise NewConnectionError(self, f"Failed to establish a new connection: {failure}") from failure  # type: ignore[arg-type]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of the class that this is mixed into
        if (line := current_line.get()) is not None:
            line.run_over(self.sock)

    def send(self, data: Any) -> None:
        line = current_line.get()
        if line is None:
            super().send(data)  # type: ignore[misc]
            return
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        while view:
            # Not ``sendall``, whose limit is for all that it is given.
            line.run_over(self.sock)
            try:
                view = view[self.sock.send(view) :]
            except TimeoutError:
                # It says that there is no room yet for a good part of what a buffer of megabytes can hold.
                if not line.moved(self.sock):
                    raise
            else:
                line.moved(self.sock)

    @staticmethod
    def response_class(sock: Any, *args: Any, **kwargs: Any) -> HTTPResponse:
        line = current_line.get()
        source: Any = sock if line is None else _Receiver(sock, line)
        return HTTPResponse(source, *args, **kwargs)


class LimitedAdapter(HTTPAdapter):
    """An adapter whose connections, those to a proxy too, keep to the limits of :data:`current_line`."""

    def __init__(self) -> None:
        super().__init__(pool_maxsize=POOL_SIZE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager."""
        super().init_poolmanager(*args, **kwargs)
        _limit(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Give the pool manager of a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        _limit(manager)
        return manager


def _limit(manager: Any) -> None:
    manager.pool_classes_by_scheme = {
        scheme: pool if issubclass(pool.ConnectionCls, _Limited) else _limited(pool)
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _limited(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    base: type = pool.ConnectionCls
    connection = type(base.__name__, (_Limited, base), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _Session(requests.Session):
    """A session that does not look where a redirect leads: none is followed, and there may be anything."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Give none."""


def new_session() -> requests.Session:
    """Make a session whose requests keep to the time limits, and which :meth:`VectorizeClient.abort` can cut."""
    session = _Session()
    session.mount("https://", LimitedAdapter())
    session.mount("http://", LimitedAdapter())
    return session
