"""A whole index: deleted from, saved and restored at the documented pace, under the API's rate limit.

Run by ``make whole-index``. 250,000 of 350,000 vectors are deleted, the other 100,000 exported and loaded into another
index, each by a process of its own; that of the delete and that of the export are killed by SIGKILL in the middle, and
others go on. Nothing may be refused with 429, be missing or be there twice, and every bit must be the same at the end.

At 120 requests a minute that takes more than an hour. So both sides are made faster alike: the pace reads a clock that
runs ``--scale`` times as fast, and the emulator counts its 1,200 requests in a window that is as many times shorter.
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import RateLimitError
from airflow_provider_vectorize.client.limits import MAX_DELETE_IDS, MAX_GET_IDS
from airflow_provider_vectorize.emulator import Emulator, RateLimit
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE

DIMENSIONS = 32
KEPT, DELETED = 100_000, 250_000
INDEX, COPY, TOKEN = "whole", "copy", "t" * 40
LIMIT = RateLimit()
BATCH = 5_000

Vectors = dict[str, dict[str, Any]]


def made(numbers: range) -> Vectors:
    """Make records of any float32 there is, some with a namespace and metadata."""
    bits = np.random.default_rng(numbers.start).integers(0, 2**32, (len(numbers), DIMENSIONS), np.uint32)
    values = bits.view(np.float32)
    values[~np.isfinite(values)] = -0.0
    records: Vectors = {}
    for number, row in zip(numbers, values, strict=True):
        record: dict[str, Any] = {"id": name(number), "values": row}
        if number % 3 == 0:
            record |= {
                "namespace": f"tenant-{number % 7}",
                "metadata": {"title": f"№ {number}", "year": number},
            }
        records[record["id"]] = record
    return records


def name(number: int) -> str:
    """Of 7 vectors in a row, 2 are kept."""
    return f"{'keep' if number % 7 < 2 else 'drop'}-{number:06}"


def ndjson(records: Vectors) -> bytes:
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(record, option=option) for record in records.values())


def same(found: dict[str, Any], made: dict[str, Any]) -> bool:
    """Compare a vector with its record, the values bit by bit."""
    bits = np.array(found["values"], np.float32).view(np.uint32)
    fields = (
        (found.get("namespace"), found.get("metadata") or {}),
        (made.get("namespace"), made.get("metadata", {})),
    )
    return np.array_equal(bits, made["values"].view(np.uint32)) and fields[0] == fields[1]


class Bench:
    """The emulator, and the jobs that talk to it."""

    def __init__(self, emulator: Emulator, scale: float) -> None:
        self.emulator = emulator
        self.scale = scale

    def client(self, token: str) -> VectorizeClient:
        return VectorizeClient(self.emulator.account, token, base_url=self.emulator.url, max_attempts=1)

    def limit(self, scale: float | None) -> None:
        limit = {} if scale is None else {"requests": LIMIT.requests, "seconds": LIMIT.seconds / scale}
        self.emulator.scope().put(f"{self.emulator.url}/_emulator/rate_limit", json=limit).raise_for_status()

    def start(self, job: str, index: str, place: Path) -> subprocess.Popen[str]:
        arguments = [job, self.emulator.url, self.emulator.account, TOKEN, index, str(place), str(self.scale)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.whole_index.job", *arguments], stdout=subprocess.PIPE, text=True
        )

    def run(
        self, job: str, index: str, place: Path, half_done: Callable[[], bool] | None = None
    ) -> dict[str, Any]:
        """Run a job, after another that was killed once it was half done; print a row, and give its report."""
        self.emulator.clear_log()
        started = time.monotonic()
        if half_done is not None:
            with self.start(job, index, place) as process:
                while not half_done():
                    expect(process.poll() is None, f"the {job} ended before it could be killed")
                    time.sleep(0.02)
                process.send_signal(signal.SIGKILL)
        with self.start(job, index, place) as process:
            text, _ = process.communicate()
        expect(process.returncode == 0, f"the {job} failed")
        report: dict[str, Any] = json.loads(text)
        report["requests"] = [row for row in self.emulator.log() if row["operation"] != "health"]
        refused = sum(row["status"] == 429 for row in report["requests"])
        most = max_within(LIMIT.seconds / self.scale, [row["time"] for row in report["requests"]])
        seconds = time.monotonic() - started
        requests = len(report["requests"])
        print(
            f"| {job} | {requests} | {most} | {refused} | {seconds:.0f} | "
            f"{requests / DEFAULT_REQUESTS_PER_MINUTE:.0f} | "
            f"{report['above_imports_mib']:.0f} ({report['peak_mib']:.0f}) |",
            flush=True,
        )
        expect(refused == 0, f"the {job} was refused {refused} times with 429")
        return report


def max_within(seconds: float, times: list[float]) -> int:
    """Give how many of these times at most are within any so many seconds."""
    first = most = 0
    for last, at in enumerate(sorted(times)):
        while times[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"not ok: {what}")


def saved(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("part-*.ndjson.gz")):
        with gzip.open(path) as lines:
            yield from map(orjson.loads, lines)


def check_limit(bench: Bench) -> None:
    """See that the limit is on: one request more than it allows is refused."""
    client, passed = bench.client("u" * 40), 0
    try:
        while passed <= LIMIT.requests:
            client.get_index(INDEX)
            passed += 1
    except RateLimitError:
        pass
    expect(passed == LIMIT.requests, f"{passed} requests passed the limit of {LIMIT.requests}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=20, help="times as fast as the clock; 1 takes 75 minutes"
    )
    scale = parser.parse_args().scale
    with Emulator() as emulator, tempfile.TemporaryDirectory() as work:
        bench, folder = Bench(emulator, scale), Path(work) / "export"
        checker = bench.client("c" * 40)  # a token of its own, with a budget of its own
        for index in (INDEX, COPY):
            emulator.create_index(index, dimensions=DIMENSIONS, metric="euclidean")
        kept: Vectors = {}
        ids = Path(work) / "ids.txt"
        with ids.open("w") as lines:
            for start in range(0, KEPT + DELETED, BATCH):
                records = made(range(start, start + BATCH))
                checker.upsert(INDEX, ndjson(records))
                lines.writelines(f"{each}\n" for each in records if each.startswith("drop"))
                kept |= {each: record for each, record in records.items() if each.startswith("keep")}
        bench.limit(1)
        check_limit(bench)
        bench.limit(scale)
        print(
            f"{KEPT + DELETED} vectors of {DIMENSIONS} dimensions. Both clocks {scale:g} times as fast: "
            f"{DEFAULT_REQUESTS_PER_MINUTE} requests in {60 / scale:g} s, of {LIMIT.requests} that are allowed in "
            f"{LIMIT.seconds / scale:g} s; one more was refused.\n\n"
            "| job | requests | most in a window | 429 | seconds | minutes at the real clock | "
            "peak above imports (whole), MiB |\n|---|---|---|---|---|---|---|",
            flush=True,
        )

        report = bench.run(
            "delete",
            INDEX,
            ids,
            lambda: emulator.stats()["delete_by_ids"]["requests"] > DELETED / MAX_DELETE_IDS / 2,
        )
        expect(report["accepted"] == DELETED, f"the delete says {report['accepted']} of {DELETED}")
        deletes = sum(row["operation"] == "delete_by_ids" for row in report["requests"])
        sent_twice = deletes - DELETED // MAX_DELETE_IDS
        left = list(checker.list_vectors(INDEX))
        expect(
            sorted(left) == sorted(kept), f"{len(left)} vectors are left, not the {KEPT} that were to stay"
        )

        report = bench.run(
            "export", INDEX, folder, lambda: len(list(folder.glob("part-*"))) >= KEPT / BATCH / 2
        )
        expect(report["vectors"] == KEPT and report["missing"] == 0, f"the export says {report['vectors']}")
        expect(report["resumed_from"] >= KEPT / BATCH / 2 - 1, f"it went on from {report['resumed_from']}")
        found = list(saved(folder))
        expect(len(found) == KEPT == len({each["id"] for each in found}), f"the parts hold {len(found)}")
        expect(all(same(each, kept[each["id"]]) for each in found), "the parts hold other bits")

        report = bench.run("load", COPY, folder)
        expect(report["accepted"] == KEPT, f"the load says {report['accepted']}")
        bench.limit(None)
        names = sorted(checker.list_vectors(COPY))
        expect(names == sorted(kept), f"the copy holds {len(names)} vectors")
        for start in range(0, KEPT, MAX_GET_IDS):
            for vector in checker.get_by_ids(COPY, names[start : start + MAX_GET_IDS]):
                expect(same(asdict(vector), kept[vector.id]), f"{vector.id} has other bits in the copy")
    print(
        f"\nok: {DELETED} deleted ({sent_twice} requests twice after SIGKILL), {KEPT} exported and restored bit by "
        "bit, none missing or twice, no 429"
    )


if __name__ == "__main__":
    main()
