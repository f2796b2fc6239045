"""Where the benchmarks send to: nginx that swallows bodies, a proxy in front of it that is as slow as a network; or the
emulator.

``python benchmarks/sinks.py proxy UPSTREAM_PORT MEGABYTES_PER_SECOND MILLISECONDS`` runs the proxy and prints its port.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 1m; keepalive_requests 1000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port}; default_type application/json;
    location ~ /(upsert|insert)$ {{ return 200 '{write}'; }}
    location ~ /get_by_ids$ {{ return 200 '{nothing}'; }}
    location / {{ return 200 '{index}'; }}
  }}
}}
"""
INDEX = {
    "name": "docs",
    "description": "",
    "created_on": "2026-01-01T00:00:00Z",
    "modified_on": "2026-01-01T00:00:00Z",
    "config": {"dimensions": 1536, "metric": "cosine"},
}


def answer(result: object) -> str:
    return json.dumps({"success": True, "errors": [], "messages": [], "result": result})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """Run nginx; give its port. It answers every upload at once with a mutation id, and drops the body."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            folder=folder,
            port=port,
            write=answer({"mutationId": "$request_id"}),
            nothing=answer([]),
            index=answer(INDEX),
        )
    )
    process = subprocess.Popen(["nginx", "-c", config, "-p", folder])
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def emulator(data: str = ":memory:", cores: set[int] | None = None) -> Iterator[str]:
    """Run the emulator in a process of its own, as the service is; give its address.

    :param data: its file.
    :param cores: those that it may use; None: all.
    """
    command = [sys.executable, "-m", "airflow_provider_vectorize.emulator", "--port", "0", "--data", data]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if cores is not None:
            os.sched_setaffinity(process.pid, cores)
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def proxy(upstream: int, megabytes: float, milliseconds: float) -> Iterator[int]:
    """Run the proxy; give its port. Bandwidth is shared by all connections, the delay is that of a round trip."""
    command = [sys.executable, __file__, "proxy", str(upstream), str(megabytes), str(milliseconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


class Link:
    """A line of limited bandwidth and some delay."""

    def __init__(self, upstream: int, bytes_per_second: float, delay: float) -> None:
        self._upstream = upstream
        self._rate = bytes_per_second
        self._delay = delay
        self._free_at = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._upstream, limit=1 << 20)
        await asyncio.gather(
            self._carry(reader, there_writer, limited=True), self._carry(there_reader, writer, limited=False)
        )

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, limited: bool
    ) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1_000)
        arriving = asyncio.create_task(self._arrive(on_the_way, writer))
        loop = asyncio.get_running_loop()
        while data := await reader.read(1 << 16):
            if limited:
                self._free_at = max(self._free_at, loop.time()) + len(data) / self._rate
                await asyncio.sleep(self._free_at - loop.time())
            await on_the_way.put((loop.time() + self._delay / 2, data))
        await on_the_way.put((loop.time() + self._delay / 2, b""))
        await arriving

    @staticmethod
    async def _arrive(on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await on_the_way.get()
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()


async def run_proxy(upstream: int, megabytes: float, milliseconds: float) -> None:
    link = Link(upstream, megabytes * 1e6, milliseconds / 1e3)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0, limit=1 << 18)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(run_proxy(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
