"""How fast the emulator starts, loads and answers; ``make bench-emulator``. Takes about a minute.

Loading is set beside ``orjson.loads`` over the same lines, in the same run: the client is pinned to one core,
the emulator to another, and the medians of five are compared.
"""

from __future__ import annotations

import http.client
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
from sinks import emulator

VECTORS, DIMENSIONS, BATCH = 100_000, 384, 5_000
BASE = "/client/v4/accounts/bench/vectorize/v2/indexes"
CLIENT_CORE, SERVER_CORE = sorted(os.sched_getaffinity(0))[:2]


@contextmanager
def pinned(data: str) -> Iterator[http.client.HTTPConnection]:
    with emulator(data, {SERVER_CORE}) as url:
        yield http.client.HTTPConnection(url.removeprefix("http://"))


def request(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> bytes:
    kind = "application/x-ndjson" if path.endswith("/upsert") else "application/json"
    connection.request(method, path, body, {"Authorization": "Bearer bench", "Content-Type": kind})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{method} {path}: {text[:300]!r}")
    return text


def start() -> float:
    begin = time.perf_counter()
    with pinned(":memory:") as connection:
        request(connection, "GET", "/_emulator/health")
        return time.perf_counter() - begin


def bodies() -> list[bytes]:
    random = np.random.default_rng(0)
    made = []
    for first in range(0, VECTORS, BATCH):
        values = random.normal(0, 0.05, (BATCH, DIMENSIONS))
        lines = [
            orjson.dumps(
                {
                    "id": f"doc-{first + row:08d}",
                    "values": values[row],
                    "metadata": {"topic": f"t{row % 7}", "n": row},
                },
                option=orjson.OPT_SERIALIZE_NUMPY,
            )
            for row in range(BATCH)
        ]
        made.append(b"\n".join(lines))
    return made


def parse(uploads: list[bytes]) -> float:
    begin = time.perf_counter()
    for upload in uploads:
        for line in upload.split(b"\n"):
            orjson.loads(line)
    return time.perf_counter() - begin


def load(connection: http.client.HTTPConnection, uploads: list[bytes]) -> float:
    config = {"dimensions": DIMENSIONS, "metric": "cosine"}
    request(connection, "POST", BASE, orjson.dumps({"name": "bench", "config": config}))
    begin = time.perf_counter()
    for upload in uploads:
        request(connection, "POST", f"{BASE}/bench/upsert", upload)
    return time.perf_counter() - begin


def query(connection: http.client.HTTPConnection) -> float:
    body = orjson.dumps({"vector": [0.01] * DIMENSIONS, "topK": 10})
    begin = time.perf_counter()
    found = orjson.loads(request(connection, "POST", f"{BASE}/bench/query", body))
    assert found["result"]["count"] == 10
    return time.perf_counter() - begin


def main() -> None:
    os.sched_setaffinity(0, {CLIENT_CORE})
    print(f"start to first answer: median of 10: {statistics.median(start() for _ in range(10)):.2f} s")
    uploads = bodies()
    megabytes = sum(map(len, uploads)) / 1e6
    parsing, loading = [], []
    with tempfile.TemporaryDirectory() as folder, pinned(str(Path(folder) / "bench.db")) as connection:
        for _ in range(5):
            parsing.append(parse(uploads))
            loading.append(load(connection, uploads))
            first, second = query(connection), query(connection)
            request(connection, "DELETE", f"{BASE}/bench")
    parsed, loaded = megabytes / statistics.median(parsing), megabytes / statistics.median(loading)
    print(f"{VECTORS:,} vectors of {DIMENSIONS} dimensions, {megabytes:.0f} MB of NDJSON, to an SQLite file")
    print(f"orjson.loads: median of 5: {parsed:.0f} MB/s")
    print(
        f"load:         median of 5: {loaded:.0f} MB/s, {VECTORS / statistics.median(loading):,.0f} vectors/s"
    )
    print(f"ratio: {loaded / parsed:.2f} (at least 0.25 is wanted)")
    print(f"query: {first:.2f} s the first time, then {second:.3f} s")


if __name__ == "__main__":
    main()
