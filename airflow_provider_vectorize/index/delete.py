"""Delete vectors by their ids: all of them checked and counted before the first is deleted."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    InvalidArgumentError,
    TooManyRejectsError,
    VectorizeError,
)
from airflow_provider_vectorize.client.limits import MAX_DELETE_IDS, MAX_ID_BYTES
from airflow_provider_vectorize.index.pace import Pace, minutes
from airflow_provider_vectorize.ingest.checkpoint import Checkpoint
from airflow_provider_vectorize.ingest.columns import Columns
from airflow_provider_vectorize.ingest.records import FlawError, parse
from airflow_provider_vectorize.ingest.rejects import Reject, RejectsFolder, Spool, listing
from airflow_provider_vectorize.ingest.sources import START, Source

log = logging.getLogger(__name__)

DEFAULT_MAX_DELETES = 100_000
#: Requests after which is noted how far it came.
_NOTED_REQUESTS = 10
_MAX_MUTATION_IDS = 20


@dataclass(frozen=True, slots=True)
class DeleteReport:
    """What a delete has done.

    :param index_name: the index.
    :param operation: ``delete``.
    :param mutation_id: the fence: once it can be seen, every delete can.
    :param mutation_ids: the last 20, in the order of sending.
    :param batches: requests of this try.
    :param accepted: ids whose deletion the API accepted, in all tries; it does not tell which of them were there.
    :param rejected: what was refused for being no id.
    :param resumed_from: ids that an earlier try had deleted; 0 if it began at the beginning.
    :param seconds: time that this try took.
    :param sources: names of what was read, the first 100.
    """

    index_name: str
    operation: str
    mutation_id: str
    mutation_ids: tuple[str, ...]
    batches: int
    accepted: int
    rejected: int
    resumed_from: int
    seconds: float
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {**asdict(self), "mutation_ids": list(self.mutation_ids), "sources": list(self.sources)}


class IdList:
    """Ids in memory.

    :param ids: a list, or anything that can be iterated.
    """

    names: Sequence[str] = ("ids",)

    def __init__(self, ids: Iterable[Any]) -> None:
        if isinstance(ids, str | bytes | Mapping):
            raise InvalidArgumentError(f"ids must be a list of ids, got {str(ids)[:80]!r}")
        self._ids = list(ids)

    def read(self) -> Iterator[tuple[Any, str, int]]:
        """Give each with its place."""
        return ((each, "ids", number) for number, each in enumerate(self._ids, 1))

    def identity(self) -> Any:
        """Tell them from others."""
        return hashlib.sha256(json.dumps(self._ids, default=repr).encode()).hexdigest()


class IdSource:
    """Ids in files: an id a line, as text or as JSON with an ``id``; or a column of Parquet.

    :param source: read with :func:`id_columns`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.names = source.names

    def read(self) -> Iterator[tuple[Any, str, int]]:
        """Give each with its place."""
        for item in self._source.read(START, lambda: None):
            yield _id_of(item.data), self.names[item.end.source], item.end.line

    def identity(self) -> Any:
        """Tell them from others; None if that cannot be done."""
        return self._source.identity()


def id_columns(columns: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of columns, choose what an id is made of."""
    given = (columns or {}).get("id", "id")
    made_of = Columns({"id": given, "values": "-"}).needed
    # There are no values: any column that is there anyway stands for them.
    return {"id": given, "values": made_of[0], "metadata": []}


def delete(
    client: VectorizeClient,
    index_name: str,
    ids: IdList | IdSource,
    pace: Pace,
    *,
    max_deletes: int = DEFAULT_MAX_DELETES,
    on_invalid: Literal["fail", "reject"] = "fail",
    max_rejects: int = 0,
    rejects: RejectsFolder | None = None,
    checkpoint: Checkpoint | None = None,
) -> DeleteReport:
    """Delete vectors, 100 ids a request, one request after the other.

    :param client: the client.
    :param index_name: the index.
    :param ids: they are read twice: first to check and count all of them, then to delete them.
    :param pace: called before every request; it may raise.
    :param max_deletes: with more ids nothing is deleted at all.
    :param on_invalid: what to do with what is no id: ``fail``, or ``reject`` it and go on.
    :param max_rejects: with more rejects nothing is deleted at all.
    :param rejects: folder that takes them.
    :param checkpoint: where to note how far it came, and to go on.
    :raises InvalidArgumentError: there are more ids than ``max_deletes``.
    :raises InvalidRecordError: something is no id.
    :raises TooManyRejectsError: more was refused than ``max_rejects``.
    :raises EmptySourceError: there is not one id.
    """
    started = time.monotonic()
    number, rejected = _check(ids, index_name, max_deletes, on_invalid, max_rejects, rejects)
    requests = -(-number // MAX_DELETE_IDS)
    log.info(
        "Deleting %d ids of index %r: %d requests, %s at this pace; the API allows 240 requests a minute, 24,000 ids",
        number, index_name, requests, minutes(requests, pace.limit),
    )  # fmt: skip
    pace()
    mark = [client.account_id, index_name, client.get_index(index_name).created_on, ids.identity(), number]
    state = _earlier(checkpoint, mark)
    resumed_from, mutations, sent = state["done"], list(state["mutations"]), 0
    if resumed_from:
        log.info("Going on after %d ids that an earlier try has deleted", resumed_from)
    wanted = islice((value for value, _, _ in ids.read() if _flaw(value) is None), resumed_from, None)
    done = resumed_from
    while part := list(islice(wanted, MAX_DELETE_IDS)):
        pace()
        mutations += [mutation.id for mutation in client.delete_by_ids(index_name, part)]
        del mutations[:-_MAX_MUTATION_IDS]
        done += len(part)
        sent += 1
        if sent % _NOTED_REQUESTS == 0:
            _note(checkpoint, mark, done, mutations)
            log.info("%d of %d ids", done, number)
    _note(checkpoint, mark, done, mutations)
    return DeleteReport(
        index_name, "delete", mutations[-1], tuple(mutations), sent, done, rejected, resumed_from,
        time.monotonic() - started, tuple(ids.names[:100]),
    )  # fmt: skip


def _check(
    ids: IdList | IdSource,
    index_name: str,
    max_deletes: int,
    on_invalid: str,
    max_rejects: int,
    folder: RejectsFolder | None,
) -> tuple[int, int]:
    number = 0
    rejects: list[Reject] = []
    kept = Spool()
    for value, source, line in ids.read():
        flaw = _flaw(value)
        if flaw is None:
            number += 1
            continue
        reject = Reject(source, line, value if isinstance(value, str) else None, flaw.code, flaw.reason)
        if on_invalid == "fail":
            raise reject.error()
        rejects.append(reject)
        if folder is not None:
            kept.add(reject.with_record(value))
        if len(rejects) > max_rejects:
            raise TooManyRejectsError(
                f"More than {max_rejects} of the ids were refused, so nothing was deleted:\n"
                + listing(rejects, len(rejects))
            )
    if number > max_deletes:
        raise InvalidArgumentError(
            f"{number} ids of index {index_name!r} would be deleted, and max_deletes is {max_deletes}: nothing was. "
            "Look whether that is what is meant, and set max_deletes"
        )
    if not number:
        raise EmptySourceError("There is nothing to delete: not one id")
    if rejects and folder is not None:
        folder.write(uuid.uuid4().hex[:16], kept)
    kept.close()
    return number, len(rejects)


def _flaw(value: Any) -> FlawError | None:
    if not isinstance(value, str) or not value:
        return FlawError("invalid_id", f"an id is a text that is not empty, got {str(value)[:60]!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return FlawError("not_utf8", "the id has a lone surrogate, which UTF-8 cannot hold")
    if size > MAX_ID_BYTES:
        return FlawError("id_too_long", f"the id takes {size} bytes, at most {MAX_ID_BYTES} are allowed")
    return None


def _id_of(data: Any) -> Any:
    if isinstance(data, bytes):
        text = data.strip()
        if text[:1] == b"{":
            try:
                return parse(data).get("id")
            except FlawError:
                pass
        elif text[:1] == b'"':
            try:
                return json.loads(text)
            except ValueError:
                pass
        return text.decode("utf-8", "surrogateescape")
    return data.get("id") if isinstance(data, Mapping) else None


def _earlier(checkpoint: Checkpoint | None, mark: list[Any]) -> dict[str, Any]:
    state = None
    if checkpoint is not None:
        try:
            state = checkpoint.load()
        except Exception as error:  # noqa: BLE001  # stores are foreign code, and the delete can do without
            log.warning("The checkpoint could not be read, so the delete starts at the beginning: %r", error)
    if state is None or mark[3] is None or state.get("mark") != mark:
        return {"done": 0, "mutations": []}
    return dict(state)


def _note(checkpoint: Checkpoint | None, mark: list[Any], done: int, mutations: list[str]) -> None:
    if checkpoint is None:
        return
    try:
        checkpoint.save({"mark": mark, "done": done, "mutations": mutations})
    except VectorizeError:
        raise
    except Exception as error:  # noqa: BLE001  # as above
        log.warning("The checkpoint could not be stored, so a retry deletes more again: %r", error)
