"""A client in memory, and records to load with it."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from airflow_provider_vectorize.client.errors import InvalidVectorError
from airflow_provider_vectorize.client.types import Body, Index, Mutation, Vector
from airflow_provider_vectorize.ending import Ending
from airflow_provider_vectorize.ingest import SourceFile

DIMENSIONS = 32
FS = fsspec.filesystem("file")


def record(number: int, **fields: Any) -> dict[str, Any]:
    """A good record, another one for every number."""
    values = np.random.default_rng(number).standard_normal(DIMENSIONS).tolist()
    return {"id": f"id-{number}", "values": values} | fields


def records(count: int) -> list[dict[str, Any]]:
    return [record(number) for number in range(count)]


def ndjson(items: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def source_file(path: Path) -> SourceFile:
    return SourceFile(FS, str(path), str(path))


class Store(dict):
    """A checkpoint in memory that remembers every save."""

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None
        self.saves: list[dict[str, Any]] = []

    def load(self) -> dict[str, Any] | None:
        return self.state

    def save(self, state: dict[str, Any]) -> None:
        self.state = json.loads(json.dumps(state))
        self.saves.append(self.state)


class FakeClient:
    """Vectorize in memory: writes are visible at once, in the order of their arrival.

    :param refuses: ids whose vector makes the API refuse a request.
    :param message: what it says then, with ``{id}`` and ``{line}``.
    :param before: called with every body, before it is accepted; it may raise.
    """

    account_id = "a" * 32

    def __init__(
        self,
        refuses: Iterable[str] = (),
        message: str = "bad vector",
        before: Callable[[bytes], None] = lambda body: None,
    ) -> None:
        self.created_on = "2026-01-01"
        self.vectors: dict[str, dict[str, Any]] = {}
        self.bodies: list[bytes] = []
        self.mutations: list[str] = []
        self.read: list[list[str]] = []
        self.requests = 0
        self._refuses = set(refuses)
        self._message = message
        self._before = before
        self._lock = threading.Lock()

    def within(self, ending: Ending | None = None, **bounds: Any) -> FakeClient:
        return self

    def get_index(self, index_name: str) -> Index:
        return Index(index_name, DIMENSIONS, "cosine", "", self.created_on, self.created_on)

    def get_by_ids(self, index_name: str, ids: list[str]) -> list[Vector]:
        self.read.append(ids)
        return [Vector.from_result(self.vectors[each]) for each in ids if each in self.vectors]

    def upsert(self, index_name: str, body: Body, unparsable_behavior: str = "error") -> Mutation:
        return self._write(b"".join(body), self.vectors.__setitem__)

    def insert(self, index_name: str, body: Body, unparsable_behavior: str = "error") -> Mutation:
        return self._write(b"".join(body), self.vectors.setdefault)

    def delete_by_ids(self, index_name: str, ids: Iterable[str]) -> list[Mutation]:
        return [
            self._write(ndjson({"id": each} for each in ids), lambda each, _: self.vectors.pop(each, None))
        ]

    def _write(self, body: bytes, put: Callable[[str, dict[str, Any]], Any]) -> Mutation:
        with self._lock:
            self.requests += 1
        self._before(body)
        items = [json.loads(line) for line in body.splitlines()]
        for line, item in enumerate(items):
            if item["id"] in self._refuses:
                reason = self._message.format(id=item["id"], line=line)
                raise InvalidVectorError(f"upsert failed: {reason}", status=400, code=40012, reason=reason)
        with self._lock:
            self.bodies.append(body)
            for item in items:
                put(item["id"], item)
            self.mutations.append(str(uuid.uuid4()))
            return Mutation(self.mutations[-1])

    @property
    def ids_by_request(self) -> list[list[str]]:
        return [[json.loads(line)["id"] for line in body.splitlines()] for body in self.bodies]
