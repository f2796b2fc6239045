"""What a sync costs beside a full load, and what memory it takes: ``make bench-sync``.

1. 200,000 ids on the emulator, loaded. Then three days, each with 1 % of them changed and 0.5 % gone: requests, bytes
   and time of the sync beside those of the full load, and beside reading the source and hashing it, in the same run.
   At the end every vector is read back and compared with the source.
2. 5 million ids with a manifest, nothing changed: peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import fsspec
import numpy as np
import orjson
from contenders import peak_mib
from sinks import emulator

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.types import Index, IndexInfo
from airflow_provider_vectorize.ingest import IngestOptions, SourceFile
from airflow_provider_vectorize.ingest.records import Checker
from airflow_provider_vectorize.ingest.sources import START, as_source
from airflow_provider_vectorize.sync.engine import identity_of, sync
from airflow_provider_vectorize.sync.folder import Folder
from airflow_provider_vectorize.sync.manifest import Manifest
from airflow_provider_vectorize.sync.marks import record_mark, stored
from airflow_provider_vectorize.sync.options import SyncOptions

FS = fsspec.filesystem("file")
INDEX = "docs"
DIMENSIONS = 256
DAYS = 3
#: The goals, of which the one of the requests holds for the uploads alone: deletes go 100 ids at a time.
MAX_SHARE = 0.02
MAX_TIME = 1.3
MAX_MIB = 250


def manifest_in(path: Path) -> Manifest:
    return Manifest(Folder(FS, str(path), str(path)))


def write(path: Path, versions: dict[int, int]) -> None:
    pool = np.random.default_rng(1).standard_normal((1_000, DIMENSIONS)).astype(np.float32)
    with path.open("wb") as stream:
        for number, version in versions.items():
            values = pool[number % 1_000].copy()
            values[:2] = number, version
            stream.write(
                orjson.dumps(
                    {"id": f"document-{number:09}", "values": values, "metadata": {"page": number % 97}},
                    option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
                )
            )


def sent(url: str) -> dict[str, int]:
    """Count requests and bytes, as the emulator has seen them."""
    with urlopen(f"{url}/_emulator/stats") as answer:
        stats = json.load(answer)
    found = {name: stats.get(name, {}) for name in ("upsert", "delete_by_ids")}
    return {
        "uploads": found["upsert"].get("requests", 0),
        "deletes": found["delete_by_ids"].get("requests", 0),
        "bytes": sum(each.get("bytes", 0) for each in found.values()),
    }


def read_and_hash(source: list[SourceFile], options: IngestOptions) -> float:
    """Read, check and hash a source, as every load reads it."""
    begun = time.perf_counter()
    checker = Checker.of(options, DIMENSIONS, record_mark)
    for item in as_source(source).read(START, lambda: None):
        checker.check(item.data)
    return time.perf_counter() - begun


def holds(client: VectorizeClient, source: list[SourceFile]) -> bool:
    """Tell whether an index is its source, by the digest of every vector."""
    marks: dict[str, bytes] = {}

    def mark(record: Any) -> bytes:
        marks[record["id"]] = record_mark(record)
        return b""

    checker = Checker.of(IngestOptions(), DIMENSIONS, mark)
    for item in as_source(source).read(START, lambda: None):
        checker.check(item.data)
    ids = list(client.list_vectors(INDEX))
    if len(ids) != len(marks) or set(ids) != marks.keys():
        return False

    def same(begin: int) -> bool:
        page = ids[begin : begin + 20]
        found = client.get_by_ids(INDEX, page)
        return len(found) == len(page) and all(marks[each.id] == record_mark(stored(each)) for each in found)

    with ThreadPoolExecutor(4) as pool:
        return all(pool.map(same, range(0, len(ids), 20)))


def one_percent(count: int) -> dict[str, Any]:
    """Sync after 1 % changed and 0.5 % went away, day after day."""
    draw = random.Random(2)
    options = IngestOptions()
    with tempfile.TemporaryDirectory() as folder, emulator() as url:
        client = VectorizeClient("bench", "token-of-the-benchmark", base_url=url)
        client.create_index(INDEX, dimensions=DIMENSIONS, metric="cosine")
        path, manifest = Path(folder) / "source.ndjson", manifest_in(Path(folder) / "manifest")
        source = [SourceFile(FS, str(path), str(path))]
        versions = dict.fromkeys(range(count), 0)
        write(path, versions)
        begun = time.perf_counter()
        sync(client, INDEX, source, manifest, options=options)
        full = sent(url) | {"seconds": round(time.perf_counter() - begun, 1)}
        days = []
        for day in range(1, DAYS + 1):
            for each in draw.sample(sorted(versions), count // 200):
                del versions[each]
            versions |= dict.fromkeys(draw.sample(sorted(versions), count // 100), day)
            write(path, versions)
            before, reading = sent(url), read_and_hash(source, options)
            begun = time.perf_counter()
            report = sync(client, INDEX, source, manifest, options=options)
            seconds = time.perf_counter() - begun
            assert (report.changed, report.deleted) == (count // 100, count // 200), report
            days.append(
                {name: value - before[name] for name, value in sent(url).items()}
                | {"seconds": round(seconds, 1), "reading and hashing": round(reading, 1)}
            )
            print(days[-1], flush=True)
        true = holds(client, source)
    return {"full load": full, "days": days, "index is source": true}


class Nowhere:
    """An index that has all already."""

    account_id = "a" * 32
    upsert = insert = None

    def within(self, *_: Any, **__: Any) -> Nowhere:
        return self

    def get_index(self, index_name: str) -> Index:
        return Index(index_name, 32, "cosine", "", "once", "once")

    def index_info(self, index_name: str) -> IndexInfo:  # noqa: ARG002
        return IndexInfo(32, 1 << 40, None, None)


def memory(count: int) -> dict[str, Any]:
    """Sync what has not changed, and tell the peak memory."""
    values = np.arange(32, dtype=np.float32)
    body = orjson.dumps(values.tolist())
    records = (b'{"id":"document-%09d","values":%b}\n' % (number, body) for number in range(count))
    mark = record_mark({"values": values})
    client: Any = Nowhere()
    before = peak_mib()
    with tempfile.TemporaryDirectory() as folder:
        manifest = manifest_in(Path(folder) / "manifest")
        identity = identity_of(client.account_id, client.get_index(INDEX), SyncOptions())
        with manifest.open(identity, "bench") as session:
            session.known.apply((f"document-{number:09}", mark) for number in range(count))
            extent = session.commit()
        begun = time.perf_counter()
        report = sync(client, INDEX, records, manifest)
        seconds = time.perf_counter() - begun
    assert report.unchanged == count, report
    return {
        "ids": count,
        "seconds": round(seconds),
        "manifest MB": round(extent["bytes"] / 1e6),
        "MiB after the imports": round(before),
        "MiB at most": round(peak_mib()),
    }


def tell(count: int, found: dict[str, Any], remembered: dict[str, Any]) -> bool:
    """Print the figures and whether the goals are met, in one line at the end."""
    full, days = found["full load"], found["days"]
    print(f"\n{count:,} ids of {DIMENSIONS} dimensions; full load: {full}")
    part = days[0]
    share = max(day["bytes"] for day in days) / full["bytes"]
    ratio = statistics.median(day["seconds"] / day["reading and hashing"] for day in days)
    requests = part["uploads"] + part["deletes"]
    least = -(-(count // 100) // 5_000) + -(-(count // 200) // 100)
    print(
        f"1 % changed, 0.5 % gone: {part['uploads']} uploads, {part['deletes']} deletes of at most 100 ids; the API "
        f"allows no fewer than {least} requests for that, which is {requests / full['uploads']:.0%} of the "
        f"{full['uploads']} requests of a full load, and {requests / (count / 1_000):.1%} of {count // 1_000} requests "
        "of 1,000"
    )
    print(f"{remembered['ids']:,} ids: {remembered}")
    met = {
        f"bytes {share:.2%} of a full load (at most {MAX_SHARE:.0%})": share <= MAX_SHARE,
        f"requests {requests} (no fewer can do)": requests <= least,
        f"time {ratio:.2f} of reading and hashing (at most {MAX_TIME})": ratio <= MAX_TIME,
        "index = source": found["index is source"],
        f"{remembered['MiB at most']} MiB for {remembered['ids']:,} ids (at most {MAX_MIB})": remembered[
            "MiB at most"
        ]
        <= MAX_MIB,
    }
    good = all(met.values())
    print(
        f"bench-sync: {'ok' if good else 'MISSED'}: "
        + "; ".join(f"{'' if ok else 'NOT '}{what}" for what, ok in met.items())
    )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ids", type=int, default=200_000)
    parser.add_argument("--memory-ids", type=int, default=5_000_000)
    parser.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only_memory:
        print(json.dumps(memory(chosen.memory_ids)))
        return
    found = one_percent(chosen.ids)
    again = [sys.executable, __file__, "--only-memory", "--memory-ids", str(chosen.memory_ids)]
    remembered = json.loads(subprocess.run(again, stdout=subprocess.PIPE, text=True, check=True).stdout)
    sys.exit(not tell(chosen.ids, found, remembered))


if __name__ == "__main__":
    main()
