"""Choose the records by which a load can be recognised in the index: those that the index shows otherwise before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import orjson

from airflow_provider_vectorize.client.errors import VectorizeError
from airflow_provider_vectorize.client.limits import MAX_GET_IDS
from airflow_provider_vectorize.client.types import Vector
from airflow_provider_vectorize.ingest.chunks import Chunk
from airflow_provider_vectorize.visibility import MAX_PROBES, Probe, digest
from airflow_provider_vectorize.wording import in_short_lines

log = logging.getLogger(__name__)

#: A full index of 20 million ids sets 70 % of the bits: enough of the last chunk's ids are still seen to be new.
_BITS = 1 << 24


class SentIds:
    """Which ids were sent: a bitmap of their hashes, 2 MiB whatever their number.

    It may hold an id to be sent that was not, and never the other way round.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)

    def add(self, ids: Iterable[str]) -> None:
        """Take note of ids."""
        bits = self._bits
        for each in ids:
            place = hash(each) % _BITS
            bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, each: str) -> bool:
        place = hash(each) % _BITS
        return bool(self._bits[place >> 3] & 1 << (place & 7))


def choose(
    get_by_ids: Callable[[list[str]], Sequence[Vector]],
    chunk: Chunk,
    sent: SentIds,
    *,
    only_absent: bool,
) -> list[Probe]:
    """Look at some ids of the last chunk right before it is sent.

    :param get_by_ids: reads vectors from the index.
    :param chunk: the last chunk.
    :param sent: ids of the chunks before it: those may be in the index already, not visible yet.
    :param only_absent: for an insert, which leaves what is there.
    :returns: at most :data:`MAX_PROBES` records that read otherwise than they will be sent. None of them if the
        index cannot be read: the wait then has the watermark alone.
    """
    # From the end: should the chunk be taken apart, the last records are those of its last mutation.
    fresh = list(
        islice(
            (entry.id for entry in reversed(chunk.entries.values()) if entry.id not in sent),
            MAX_GET_IDS,
        )
    )
    if not fresh:
        return []
    try:
        found = get_by_ids(fresh)
    except VectorizeError as error:
        log.warning("%s", in_short_lines(f"No record could be chosen to recognise the load by: {error}"))
        return []
    there = {vector.id: digest(vector.values, vector.namespace, vector.metadata) for vector in found}
    probes = []
    for each in fresh:
        if each in there and only_absent:
            continue
        expected = _expected(orjson.loads(chunk.line(chunk.entries[each])))
        if there.get(each) != expected:
            probes.append(Probe(each, expected))
    return probes[:MAX_PROBES]


def _expected(record: Any) -> str | None:
    if isinstance(record, str):  # an id alone: it is to be gone
        return None
    return digest(record["values"], record.get("namespace"), record.get("metadata"))
