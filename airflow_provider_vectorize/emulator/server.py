"""The threaded server: connections, and how each of them ends."""

from __future__ import annotations

import io
import socket
import socketserver
import struct
import threading
from contextlib import suppress
from typing import Final

from airflow_provider_vectorize.emulator import wire
from airflow_provider_vectorize.emulator.app import App
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.responses import Hangup, Reply
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
        self._wire = wire.Wire(self.request)
        self._reader = io.BufferedReader(self._wire, 65536)
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
        self._wire.allow(seconds)
        if not self._reader.peek(1):
            return False
        self._wire.allow(seconds)  # From the first byte on, however long the connection was idle.
        try:
            head = wire.read_head(self._reader)
        except ApiError as error:
            return self._refuse(error)
        except TimeoutError:
            return self._refuse(ApiError("too_slow"))
        unread = head.has_body

        def proceed() -> None:
            if head.expects_continue:
                self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

        def read(limit: int) -> bytes:
            nonlocal unread
            self._wire.allow(seconds)
            try:
                body = wire.read_body(self._reader, head, limit, proceed)
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
        self.request.sendall(reply.head(close=close) + (reply.body if body else b""))

    def _linger(self) -> None:
        self.request.shutdown(socket.SHUT_WR)
        self._wire.allow(_LINGER_SECONDS)
        left = _LINGER_BYTES
        while left > 0 and (data := self._reader.read1(65536)):
            left -= len(data)

    def _hang_up(self, seconds: float) -> bool:
        self.server.stopping.wait(seconds)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.request.close()
        return False


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

    def close(self) -> None:
        """Stop, end the connections that are open, and wait for their threads."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for connection, thread in list(self.connections.items()):
            with suppress(OSError):  # It may have ended by itself meanwhile.
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(_STOP_SECONDS)
