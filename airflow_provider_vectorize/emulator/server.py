"""The threaded server: connections, and how each of them ends."""

from __future__ import annotations

import io
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from airflow_provider_vectorize.emulator import wire
from airflow_provider_vectorize.emulator.app import App
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.responses import Hangup, Pace, Reply
from airflow_provider_vectorize.emulator.settings import Settings

#: After a refusal the rest of the body is read and thrown away for so long, so that the sender gets the answer.
_LINGER_SECONDS: Final = 5.0
_LINGER_BYTES: Final = 200_000_000
_STOP_SECONDS: Final = 10.0
_RESET: Final = struct.pack("ii", 1, 0)


class _Handler(socketserver.BaseRequestHandler):
    """One connection: requests one after another until one of the two sides has had enough."""

    server: Server
    request: socket.socket

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = wire.Wire(self.request)
        self.reader = io.BufferedReader(self.wire, 65536)
        self.server.connections[self.request] = threading.current_thread()

    def handle(self) -> None:
        with suppress(OSError):  # The other side has gone, or said nothing for too long.
            while self._serve():
                pass

    def finish(self) -> None:
        self.server.connections.pop(self.request, None)

    def _serve(self) -> bool:
        """Serve one request; tell whether another may follow."""
        seconds = self.server.settings.request_seconds
        self.wire.allow(seconds)
        if not self.reader.peek(1):
            return False
        self.wire.allow(seconds)  # From the first byte on, however long the connection was idle.
        try:
            head = wire.read_head(self.reader)
        except ApiError as error:
            return self._refuse(error)
        except TimeoutError:
            return self._refuse(ApiError("too_slow"))
        unread = head.has_body

        def proceed() -> None:
            if head.expects_continue:
                self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

        def read(limit: int, pace: Pace | None) -> bytes:
            nonlocal unread
            self.wire.allow(seconds)
            reader = self.reader if pace is None else _PacedReader(self, pace, seconds)
            try:
                body = wire.read_body(reader, head, limit, proceed)
            except TimeoutError:
                raise ApiError("too_slow") from None
            unread = False
            return body

        reply = self.server.app.serve(head, read)
        if isinstance(reply, Hangup):
            return self._hang_up(reply.seconds)
        self._send(reply, close=unread or not head.keep_alive, body=head.method != "HEAD")
        if unread:
            self._linger()
        return head.keep_alive and not unread

    def _refuse(self, error: ApiError) -> bool:
        self._send(self.server.app.refuse(error), close=True)
        self._linger()
        return False

    def _send(self, reply: Reply, *, close: bool, body: bool = True) -> None:
        self.request.settimeout(self.server.settings.request_seconds)
        parts = reply.head(close=close), reply.body if body else b""
        if reply.pace is None:
            self.request.sendall(b"".join(parts))
            return
        for part, slow in zip(parts, (reply.pace.head, True), strict=True):
            size = reply.pace.size if slow else len(part)
            for at in range(0, len(part), size):
                self.pause(reply.pace.seconds if slow else 0)
                self.request.sendall(part[at : at + size])

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than the server runs."""
        if self.server.stopping.wait(seconds):
            raise ConnectionAbortedError

    def _linger(self) -> None:
        self.request.shutdown(socket.SHUT_WR)
        self.wire.allow(_LINGER_SECONDS)
        left = _LINGER_BYTES
        while left > 0 and (data := self.reader.read1(65536)):
            left -= len(data)

    def _hang_up(self, seconds: float) -> bool:
        self.server.stopping.wait(seconds)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.request.close()
        return False


class _PacedReader:
    """Reads what arrives at a pace, so that the sender is held up.

    :param seconds: what the sender may take for the next bytes: the time that the pace takes is not its own.
    """

    def __init__(self, handler: _Handler, pace: Pace, seconds: float) -> None:
        self._handler = handler
        self._pace = pace
        self._seconds = seconds
        # Else the system takes megabytes off the sender before a byte is read here.
        handler.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)

    def read(self, size: int, /) -> bytes:
        """Read so many bytes, or fewer at the end."""
        body = bytearray()
        while len(body) < size:
            piece = self._next(self._handler.reader.read, min(self._pace.size, size - len(body)))
            if not piece:
                break
            body += piece
        return bytes(body)

    def readline(self, limit: int = -1, /) -> bytes:
        """Read a line, or so many bytes of it."""
        return self._next(self._handler.reader.readline, limit)

    def _next(self, read: Callable[[int], bytes], size: int) -> bytes:
        self._handler.pause(self._pace.seconds)
        self._handler.wire.allow(self._seconds)
        return read(size)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection.

    :param address: host and port; port 0 takes a free one.
    :param app: what answers.
    :param settings: how long senders may take.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], app: App, settings: Settings) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.app = app
        self.settings = settings
        self.stopping = threading.Event()
        self.connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(address, _Handler)

    def service_actions(self) -> None:
        """Give a turn to what happens by itself."""
        self.app.tick()

    def close(self) -> None:
        """Stop, end the connections that are open, and wait for their threads."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for connection, thread in list(self.connections.items()):
            with suppress(OSError):  # It may have ended by itself meanwhile.
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(_STOP_SECONDS)
