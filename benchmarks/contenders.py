"""One run of one contender, in a process of its own: ``contenders.py NAME FILE PORT``. Prints its figures as JSON.

The clock starts when the imports are done: in a task they are, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATH = "/client/v4/accounts/0123456789abcdef0123456789abcdef/vectorize/v2/indexes/docs/upsert"


def peak_mib() -> float:
    # Not of getrusage, which counts what the parent held when it forked.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def ours(compact: bool, cores: set[int] | None = None) -> Callable[[str, int], dict[str, Any]]:
    import fsspec
    import pyarrow.parquet  # noqa: F401  # an import, as the others

    from airflow_provider_vectorize.client import VectorizeClient
    from airflow_provider_vectorize.ingest import IngestOptions, SourceFile, ingest
    from airflow_provider_vectorize.ingest.tables import mapped

    if cores is not None:
        os.sched_setaffinity(0, cores)
    files, imported = fsspec.filesystem("file"), peak_mib()

    def run(file: str, port: int) -> dict[str, Any]:
        client = VectorizeClient("0" * 32, "t" * 40, base_url=f"http://127.0.0.1:{port}")
        source = mapped([SourceFile(files, file, file)], None)
        report = ingest(client, "docs", source, options=IngestOptions(compact=compact))
        return {
            "bytes_ratio": report.bytes_sent / report.bytes_read if report.bytes_read else None,
            "peak_mib": peak_mib(),
            "above_import_mib": peak_mib() - imported,
            "accepted": report.accepted,
            "report_bytes": len(json.dumps(report.to_dict())),
        }

    return run


def ours_rejects() -> Callable[[str, int], dict[str, Any]]:
    """Refuse every record, since the index has other dimensions, and keep them all."""
    import fsspec

    from airflow_provider_vectorize.client import VectorizeClient
    from airflow_provider_vectorize.client.errors import TooManyRejectsError
    from airflow_provider_vectorize.client.types import Index
    from airflow_provider_vectorize.ingest import IngestOptions, RejectsFolder, SourceFile, ingest

    files, imported = fsspec.filesystem("file"), peak_mib()

    class Client(VectorizeClient):
        def get_index(self, index_name: str) -> Index:
            return Index(index_name, 768, "cosine", "", "", "")

    def run(file: str, port: int) -> dict[str, Any]:
        client = Client("0" * 32, "t" * 40, base_url=f"http://127.0.0.1:{port}")
        with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
            try:
                ingest(
                    client,
                    "docs",
                    [SourceFile(files, file, file)],
                    options=IngestOptions(on_invalid="reject", max_rejects=10**9),
                    rejects=RejectsFolder(files, folder, folder),
                )
            except TooManyRejectsError as error:
                report = error.report
        return {"above_import_mib": peak_mib() - imported, "rejected": report.rejected}

    return run


def bare_loop() -> Callable[[str, int], dict[str, Any]]:
    import numpy as np
    import orjson

    def run(file: str, _port: int) -> dict[str, Any]:
        with Path(file).open("rb", buffering=1 << 18) as stream:
            for line in stream:
                values = np.array(orjson.loads(line)["values"], dtype=np.float32)
                orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
        return {}

    return run


def requests_loop() -> Callable[[str, int], dict[str, Any]]:
    import requests

    def run(file: str, port: int) -> dict[str, Any]:
        session = requests.Session()
        with Path(file).open("rb") as stream:
            while lines := stream.readlines(32 << 20):
                headers = {"Content-Type": "application/x-ndjson"}
                session.post(
                    f"http://127.0.0.1:{port}{PATH}", data=b"".join(lines), headers=headers
                ).raise_for_status()
        return {}

    return run


def cloudflare_package() -> Callable[[str, int], dict[str, Any]]:
    import cloudflare

    def run(file: str, port: int) -> dict[str, Any]:
        client = cloudflare.Cloudflare(api_token="t" * 40, base_url=f"http://127.0.0.1:{port}/client/v4")
        with Path(file).open("rb") as stream:
            while lines := stream.readlines(32 << 20):
                client.vectorize.indexes.upsert(
                    "docs",
                    account_id="0" * 32,
                    body=b"".join(lines),
                    extra_headers={"Content-Type": "application/x-ndjson"},
                )
        return {}

    return run


def digest() -> Callable[[str, int], dict[str, Any]]:
    """What is sent, as a digest: to tell whether two files are the same vectors."""
    import fsspec

    from airflow_provider_vectorize.ingest.records import Checker
    from airflow_provider_vectorize.ingest.sources import START, SourceFile
    from airflow_provider_vectorize.ingest.tables import mapped

    files = fsspec.filesystem("file")

    def run(file: str, _port: int) -> dict[str, Any]:
        checker = Checker(1536, namespace=None, compact=True, max_bytes=32 << 20)
        lines, number = hashlib.sha256(), 0
        for item in mapped([SourceFile(files, file, file)], None).read(START, lambda: None):
            lines.update(checker.check(item.data).line)
            number += 1
        return {"digest": lines.hexdigest(), "records": number}

    return run


def stages() -> Callable[[str, int], dict[str, Any]]:
    """Each step of the way added to the one before, without sending and with it."""
    import fsspec

    from airflow_provider_vectorize.ingest.chunks import Chunker
    from airflow_provider_vectorize.ingest.records import Checker
    from airflow_provider_vectorize.ingest.sources import START, Files, SourceFile

    files = fsspec.filesystem("file")

    def run(file: str, _port: int) -> dict[str, Any]:
        times = {}
        for compact in (False, True):
            for steps in ("read", "read, check", "read, check, chunk"):
                begun = time.perf_counter()
                checker = Checker(1536, namespace=None, compact=compact, max_bytes=32 << 20)
                chunker = Chunker(max_vectors=5_000, max_bytes=32 << 20, keep="last")
                for item in Files([SourceFile(files, file, file)]).read(START, lambda: None):
                    if "check" in steps:
                        record = checker.check(item.data)
                        if "chunk" in steps:
                            chunker.add(record, item)
                times[f"{steps} ({'compact' if compact else 'lines as they are'})"] = (
                    time.perf_counter() - begun
                )
        return times

    return run


CONTENDERS = {
    "ours, lines": lambda: ours(compact=False),
    "ours, compact": lambda: ours(compact=True),
    "ours, on one core": lambda: ours(compact=True, cores={0}),
    "ours, rejects": ours_rejects,
    "digest": digest,
    "bare loop": bare_loop,
    "requests": requests_loop,
    "cloudflare": cloudflare_package,
    "stages": stages,
}

if __name__ == "__main__":
    prepared = CONTENDERS[sys.argv[1]]()
    started = time.perf_counter()
    figures = prepared(sys.argv[2], int(sys.argv[3]))
    print(json.dumps({"seconds": time.perf_counter() - started, **figures}))
