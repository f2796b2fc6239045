"""An index and a manifest to sync, and a client that does what it is told at every request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.ingest import IngestOptions
from airflow_provider_vectorize.sync.engine import sync
from airflow_provider_vectorize.sync.folder import Folder
from airflow_provider_vectorize.sync.manifest import Manifest
from airflow_provider_vectorize.sync.marks import record_mark, stored
from airflow_provider_vectorize.sync.options import SyncOptions
from airflow_provider_vectorize.sync.report import SyncReport
from tests.ingest.helpers import DIMENSIONS

INDEX = "docs"
FS = fsspec.filesystem("file")


def vector(record_id: str, version: int = 0, **fields: Any) -> dict[str, Any]:
    """A record, another one for every id and version."""
    seed = [*record_id.encode(), version]
    return {
        "id": record_id,
        "values": np.random.default_rng(seed).standard_normal(DIMENSIONS).tolist(),
    } | fields


def vectors(*ids: str, version: int = 0) -> list[dict[str, Any]]:
    return [vector(each, version) for each in ids]


def client_of(emulator: Emulator) -> VectorizeClient:
    return VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)


def manifest_in(path: Path | str, **settings: Any) -> Manifest:
    return Manifest(Folder(FS, str(path), str(path)), **settings)


def run_sync(client: Any, path: Any, records: Any, *, load: Any = None, **how: Any) -> SyncReport:
    """Sync, with small requests."""
    options = IngestOptions(**{"max_batch_vectors": 7, "max_in_flight": 2} | (load or {}))
    manifest = path if isinstance(path, Manifest) else manifest_in(path)
    return sync(
        client, INDEX, records, manifest, options=options, how=SyncOptions(**how), requests_per_minute=12_000
    )


def contents(client: Any) -> dict[str, bytes]:
    """What the index holds, by the mark of each vector."""
    ids = list(client.list_vectors(INDEX))
    return {found.id: record_mark(stored(found)) for found in client.get_by_ids(INDEX, ids)}


def wanted(records: list[dict[str, Any]]) -> dict[str, bytes]:
    """What the index should hold of a source: of an id that comes again the last."""
    return {each["id"]: record_mark(each) for each in records}


Hook = Callable[[str], None]
