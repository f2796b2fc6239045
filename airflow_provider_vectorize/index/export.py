"""Save an index: list its ids, read the vectors, write them in parts that the uploads load as they are.

What an export has done so far is noted in the folder itself, in ``_export.json``, and its ids in ``_ids``: the leading
underscore keeps both out of globs. So whoever is killed goes on where it stopped, on every Airflow.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import orjson

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import OutputError, VectorizeError
from airflow_provider_vectorize.client.limits import MAX_GET_IDS, MAX_LIST_PAGE
from airflow_provider_vectorize.client.types import Vector
from airflow_provider_vectorize.index.files import Folder
from airflow_provider_vectorize.index.pace import Pace, minutes
from airflow_provider_vectorize.index.parts import PartWriter, part_writer

log = logging.getLogger(__name__)

#: Vectors in a part: what a kill costs at most, and what an upload takes at once.
PART_VECTORS = 5_000
#: Ids of vectors that were gone which the report names, the first ones.
MAX_NAMED = 20
#: Parts that the report names, the first ones.
MAX_FILES = 100

_STATE = "_export.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export has done.

    :param index_name: the index.
    :param output_path: the folder.
    :param source: the glob of its parts, to give to an upload.
    :param parts: files.
    :param vectors: vectors in them.
    :param listed: ids that were to be saved.
    :param missing: of these, the vectors that were not in the index (any more).
    :param missing_ids: the first 20 of them.
    :param resumed_from: parts that an earlier try had written; 0 if it began at the beginning.
    :param listed_at: when the ids were known, ISO 8601: what was written later is not in the export.
    :param seconds: time that this try took.
    :param files: the first 100 parts: name, vectors and bytes of each (None where the storage does not tell).
    """

    index_name: str
    output_path: str
    source: str
    parts: int
    vectors: int
    listed: int
    missing: int
    missing_ids: tuple[str, ...]
    resumed_from: int
    listed_at: str
    seconds: float
    files: tuple[tuple[str, int, int | None], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self) | {
            "missing_ids": list(self.missing_ids),
            "files": [list(file) for file in self.files],
        }


@dataclass(frozen=True, slots=True)
class Owner:
    """Who exports.

    :param task: the task instance; empty outside a task.
    :param life: number of its first try since it was cleared last.
    """

    task: str = ""
    life: int = 0


@dataclass(frozen=True, slots=True)
class _State:
    """How far an export has come; what its ``_export.json`` says."""

    index: list[str]
    what: dict[str, Any]
    owner: dict[str, Any]
    run: str
    version: int = _VERSION
    listed: int | None = None
    listed_at: str = ""
    parts: int = 0
    vectors: int = 0
    missing: int = 0
    missing_ids: Sequence[str] = ()
    files: Sequence[Sequence[Any]] = ()
    finished: bool = False


def export(
    client: VectorizeClient,
    index_name: str,
    folder: Folder,
    pace: Pace,
    *,
    ids: Sequence[str] | None = None,
    id_prefix: str | None = None,
    format: Literal["ndjson", "parquet"] = "ndjson",  # noqa: A002  # the name that the uploads use
    owner: Owner = Owner(),
    part_vectors: int = PART_VECTORS,
) -> ExportReport:
    """Save an index, or a part of it.

    :param client: the client.
    :param index_name: the index.
    :param folder: where to; it must be empty, or hold what an earlier try of this export has done.
    :param pace: called before every request; it may raise.
    :param ids: save these; otherwise all that are listed.
    :param id_prefix: save those whose id begins so.
    :param format: of the parts.
    :param owner: who exports.
    :param part_vectors: vectors in a part.
    :raises OutputError: the folder holds something else, or cannot be written.
    :raises IngestAbortedError: told to stop.
    """
    started = time.monotonic()
    pace()
    index = client.get_index(index_name)
    digest = None if ids is None else hashlib.sha256(orjson.dumps(list(ids))).hexdigest()
    fresh = _State(
        index=[client.account_id, index_name, index.created_on],
        what={"ids": digest, "id_prefix": id_prefix, "format": format, "part_vectors": part_vectors},
        owner=asdict(owner),
        run=uuid.uuid4().hex[:8],
    )
    state = _open(folder, fresh)
    resumed_from = state.parts
    writer = part_writer(format, index.dimensions)

    def report() -> ExportReport:
        return ExportReport(
            index_name,
            folder.name,
            f"{folder.name}/part-*{writer.ending}",
            state.parts,
            state.vectors,
            state.listed or 0,
            state.missing,
            tuple(state.missing_ids),
            resumed_from,
            state.listed_at,
            time.monotonic() - started,
            tuple((f"{folder.name}/{name}", vectors, size) for name, vectors, size in state.files),
        )

    try:
        if not state.finished:
            state = _list_ids(client, folder, state, pace, ids, id_prefix, part_vectors)
            for number in range(state.parts, -(-(state.listed or 0) // part_vectors)):
                wanted = _ids_of_part(folder, state, number)
                state = _save_part(client, folder, state, pace, number, wanted, writer)
            state = replace(state, finished=True)
            _note(folder, state)
            folder.remove(["_ids"])
    except VectorizeError as error:
        error.report = report()
        raise
    done = report()
    _announce(done)
    return done


def _open(folder: Folder, fresh: _State) -> _State:
    """Decide what becomes of what is in the folder: go on with it, begin again in its place, or refuse it."""
    text = folder.read(_STATE)
    if text is None:
        others = [name for name in folder.names() if name.startswith("part-")]
        if others:
            raise _refused(folder, f"it holds {others[0]}, and no note of an export")
        return fresh
    try:
        found = _State(**orjson.loads(text))
    except (TypeError, orjson.JSONDecodeError):
        raise _refused(folder, f"its {_STATE} is not one of this version") from None
    if found.version != _VERSION or found.index != fresh.index or found.what != fresh.what:
        raise _refused(folder, f"it holds an export of something else: index {found.index}, {found.what}")
    by_hand = not fresh.owner["task"]
    same_task = found.owner["task"] == fresh.owner["task"]
    if found.owner == fresh.owner and not (found.finished and by_hand):
        log.info(
            "Going on in %s: %d parts with %d vectors are there, listed at %s",
            folder.name, found.parts, found.vectors, found.listed_at or "(not yet)",
        )  # fmt: skip
        return found
    if found.finished and (by_hand or not same_task):
        raise _refused(folder, f"it holds a whole export, listed at {found.listed_at}")
    log.warning(
        "Beginning again in %s: what is there (%d parts, listed at %s) was made by %s",
        folder.name, found.parts, found.listed_at or "(never)",
        "this task before it was cleared" if same_task else f"{found.owner['task'] or 'hand'}, and is not finished",
    )  # fmt: skip
    folder.write(_STATE, [orjson.dumps(asdict(fresh))])
    folder.remove(name for name in folder.names() if name == "_ids" or name.startswith("part-"))
    return fresh


def _refused(folder: Folder, why: str) -> OutputError:
    error = OutputError(
        f"{folder.name} cannot take this export: {why}. Give an empty folder, such as one for each day "
        "({{ ds }}), or delete it"
    )
    error.permanent = True
    return error


def _list_ids(
    client: VectorizeClient,
    folder: Folder,
    state: _State,
    pace: Pace,
    ids: Sequence[str] | None,
    id_prefix: str | None,
    part_vectors: int,
) -> _State:
    if state.listed is not None:
        return state
    state = replace(state, listed_at=datetime.now(UTC).isoformat(timespec="seconds"))
    if ids is None:
        pace()
        expected = client.index_info(state.index[1]).vector_count
        requests = -(-expected // MAX_LIST_PAGE) + -(-expected // MAX_GET_IDS)
        log.info(
            "Exporting index %r to %s: %d vectors take %d requests, %s at this pace (the API allows 240 requests a "
            "minute, 4,800 vectors). The list is a snapshot of now: what is written later is not in the export%s",
            state.index[1], folder.name, expected, requests, minutes(requests, pace.limit),
            "" if id_prefix is None else f"; only ids that begin with {id_prefix!r} are read",
        )  # fmt: skip
    else:
        requests = -(-len(ids) // MAX_GET_IDS)
        log.info(
            "Exporting %d vectors of index %r to %s: %d requests, %s at this pace",
            len(ids), state.index[1], folder.name, requests, minutes(requests, pace.limit),
        )  # fmt: skip
    _note(folder, state)
    listed = 0
    everything = _listed(client, state.index[1], pace) if ids is None else iter(dict.fromkeys(ids))
    wanted = (each for each in everything if id_prefix is None or each.startswith(id_prefix))
    while batch := list(islice(wanted, part_vectors)):
        folder.write(_ids_file(state, listed // part_vectors), [orjson.dumps(batch)])
        listed += len(batch)
    state = replace(state, listed=listed)
    _note(folder, state)
    return state


def _listed(client: VectorizeClient, index_name: str, pace: Pace) -> Iterator[str]:
    ids = client.list_vectors(index_name)
    while True:
        pace()
        page = list(islice(ids, MAX_LIST_PAGE))
        if not page:
            return
        yield from page


def _save_part(
    client: VectorizeClient,
    folder: Folder,
    state: _State,
    pace: Pace,
    number: int,
    wanted: Sequence[str],
    writer: PartWriter,
) -> _State:
    missing: list[str] = []

    def vectors() -> Iterator[Vector]:
        for start in range(0, len(wanted), MAX_GET_IDS):
            yield from get(wanted[start : start + MAX_GET_IDS])
        # A read may go back behind an earlier one for a moment, so what is missing is asked for once more.
        again = list(missing)
        missing.clear()
        for start in range(0, len(again), MAX_GET_IDS):
            yield from get(again[start : start + MAX_GET_IDS])

    def get(part: Sequence[str]) -> Iterator[Vector]:
        pace()
        found = {vector.id: vector for vector in client.get_by_ids(state.index[1], part)}
        missing.extend(each for each in part if each not in found)
        yield from (found[each] for each in part if each in found)

    written = 0

    def counted() -> Iterator[Vector]:
        nonlocal written
        for vector in vectors():
            written += 1
            yield vector

    name = f"part-{number + 1:06}{writer.ending}"
    with folder.writing(name) as file:
        writer.write(file, counted())
        _check_own(folder, state)
    state = replace(
        state,
        parts=number + 1,
        vectors=state.vectors + written,
        missing=state.missing + len(missing),
        missing_ids=[*state.missing_ids, *missing][:MAX_NAMED],
        files=[*state.files, (name, written, folder.size(name))][:MAX_FILES],
    )
    _note(folder, state)
    log.info("Wrote %s: %d vectors, %d of %d so far", name, written, state.vectors, state.listed)
    return state


def _ids_of_part(folder: Folder, state: _State, number: int) -> list[str]:
    name = _ids_file(state, number)
    text = folder.read(name)
    if text is None:
        _check_own(folder, state)  # who begins again takes it away
        raise _refused(folder, f"{name} is gone, which says what is in part {number + 1}")
    ids: list[str] = orjson.loads(text)
    return ids


def _ids_file(state: _State, number: int) -> str:
    return f"_ids/{state.run}-{number + 1:06}.json.gz"


def _note(folder: Folder, state: _State) -> None:
    _check_own(folder, state)
    folder.write(_STATE, [orjson.dumps(asdict(state))])


def _check_own(folder: Folder, state: _State) -> None:
    text = folder.read(_STATE)
    if text is not None and orjson.loads(text)["run"] != state.run:
        raise OutputError(f"Another export has begun in {folder.name} meanwhile, so this one gives up")


def _announce(report: ExportReport) -> None:
    log.info(
        "Exported index %r: %d vectors in %d parts in %s, in %.1f s",
        report.index_name, report.vectors, report.parts, report.output_path, report.seconds,
    )  # fmt: skip
    if report.missing:
        log.warning(
            "%d of the %d vectors were not in the index (any more): %s%s",
            report.missing, report.listed, ", ".join(report.missing_ids),
            ", ..." if report.missing > len(report.missing_ids) else "",
        )  # fmt: skip
