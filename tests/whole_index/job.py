"""One job of ``make whole-index``, in a process of its own that may be killed: prints its figures as JSON."""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import Any

import fsspec

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.index.delete import delete
from airflow_provider_vectorize.index.export import export
from airflow_provider_vectorize.index.files import Folder
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, Pace
from airflow_provider_vectorize.ingest import IngestOptions, SourceFile, ingest
from airflow_provider_vectorize.ingest.sources import Files

FILES = fsspec.filesystem("file")


class Store:
    """A checkpoint in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found = path.exists()

    def load(self) -> dict[str, Any] | None:
        return json.loads(self._path.read_text()) if self._path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        fresh.rename(self._path)


def peak_mib() -> float:
    # Not of getrusage, which counts what the parent held when it forked.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=["delete", "export", "load"])
    parser.add_argument("url")
    parser.add_argument("account")
    parser.add_argument("token")
    parser.add_argument("index")
    parser.add_argument(
        "place", type=Path, help="the file of ids, the folder of the export, the folder to load"
    )
    parser.add_argument("scale", type=float, help="how many times as fast as the clock")
    arguments = parser.parse_args()
    imported, place, scale = peak_mib(), arguments.place, arguments.scale
    stop = threading.Event()
    pace = Pace(
        DEFAULT_REQUESTS_PER_MINUTE,
        stop,
        clock=lambda: time.monotonic() * scale,
        wait=lambda seconds: stop.wait(seconds / scale),
    )
    client = VectorizeClient(arguments.account, arguments.token, base_url=arguments.url)
    report: Any
    if arguments.job == "delete":
        store = Store(place.with_suffix(".state"))
        report = delete(
            client,
            arguments.index,
            Files([SourceFile(FILES, str(place), place.name)]),
            pace,
            max_deletes=1_000_000,
            checkpoint=store,
            tried_before=store.found,
        )
    elif arguments.job == "export":
        report = export(client, arguments.index, Folder(FILES, str(place), place.name), pace)
    else:
        parts = [SourceFile(FILES, str(path), path.name) for path in sorted(place.glob("part-*"))]
        report = ingest(client, arguments.index, parts, options=IngestOptions())
    figures = {"peak_mib": peak_mib(), "above_imports_mib": peak_mib() - imported}
    print(json.dumps({**report.to_dict(), **figures}))


if __name__ == "__main__":
    main()
