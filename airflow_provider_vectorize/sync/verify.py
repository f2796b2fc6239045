"""Read an index back, and compare it with what its source says."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any, Literal, Protocol

from airflow_provider_vectorize.client.errors import (
    IngestAbortedError,
    InvalidArgumentError,
    VerificationError,
)
from airflow_provider_vectorize.client.limits import MAX_GET_IDS
from airflow_provider_vectorize.client.types import Vector
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, Pace, minutes
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.records import Checker, FlawError
from airflow_provider_vectorize.ingest.sources import START, as_source
from airflow_provider_vectorize.sync.expected import Everything, Expected, Keep, Sample, differing, parts
from airflow_provider_vectorize.sync.marks import Json, marker, stored
from airflow_provider_vectorize.sync.options import RECORD, check_verify
from airflow_provider_vectorize.sync.pages import Lister, listed, pages
from airflow_provider_vectorize.sync.segments import DIGEST_BYTES

log = logging.getLogger(__name__)

#: Reads lag: seconds before each look at what differed.
LOOK_AGAIN_SECONDS = (2.0, 5.0, 10.0)
#: Ids that an error names.
MAX_NAMED = 20
#: Differences after which no more are looked for.
MAX_DIFFERENCES = 10_000


class Client(Lister, Protocol):
    """What a verification needs of :class:`~airflow_provider_vectorize.client.VectorizeClient`."""

    def get_by_ids(self, index_name: str, ids: list[str]) -> Sequence[Vector]:
        """Get vectors; ids that are not in the index are left out."""
        ...


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification has found.

    :param index_name: the index.
    :param records: records of the source.
    :param checked: records that were read back and compared.
    :param different: how many of these are missing or differ.
    :param extra: ids that the index has and the source has not; None: not looked for.
    :param found_from: with 99 % certainty a damage to this share of the records or more would have been found; 0 when
        all were compared.
    :param differences: the first ids that differ, each with what: ``missing``, ``values``, ``namespace``,
        ``metadata``, ``extra``.
    """

    index_name: str
    records: int
    checked: int
    different: int
    extra: int | None
    found_from: float
    differences: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON, for XCom."""
        return asdict(self) | {"differences": [list(each) for each in self.differences]}


def expecting(
    verify: str, verify_sample: int, *, ids: bool = False, operation: Literal["upsert", "insert"] = "upsert"
) -> Expected:
    """Make what takes note of the records while they are read.

    :param verify: ``sample`` or ``all``.
    :param verify_sample: records of a sample, at least 1.
    :param ids: whether id sets will be compared.
    :param operation: of an id that comes again, the last record is upserted, the first inserted.
    :raises InvalidArgumentError: naming what is wrong.
    """
    check_verify(verify, verify_sample, "sample", "all")
    keep: Keep = "last" if operation == "upsert" else "first"
    return Everything(keep) if verify == "all" or ids else Sample(verify_sample, keep)


def read(
    records: object, expected: Expected, *, dimensions: int, options: IngestOptions, changed_by: str = RECORD
) -> int:
    """Read a source as a load would; invalid records are not expected.

    :param records: as :func:`~airflow_provider_vectorize.ingest.ingest` takes them.
    :param expected: what takes note of them.
    :param dimensions: of the index.
    :param options: of the load.
    :param changed_by: of the sync: where a field decides, only that field is expected, since a record in which it has
        not changed was not sent.
    :returns: how many were invalid.
    :raises SourceError: it is missing, breaks off or cannot be read.
    """
    mark_of = None if changed_by == RECORD else marker(changed_by)

    def note(record: Json) -> bytes:
        expected(record["id"], record if mark_of is None else mark_of(record))
        return b""

    checker = Checker.of(options, dimensions, note)
    invalid = 0
    with closing(as_source(records).read(START, lambda: None)) as items:
        for item in items:
            try:
                checker.check(item.data)
            except FlawError as flaw:
                invalid += 1
                log.debug("Not expected in the index: %s", flaw)
    return invalid


def verify(
    client: Client,
    index_name: str,
    expected: Expected,
    *,
    ids: bool = False,
    id_prefix: str | None = None,
    changed_by: str = RECORD,
    refused: int = 0,
    requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
    stop: threading.Event | None = None,
) -> VerifyReport:
    """Compare an index with what is expected of it. It should be visible by now; what differs is read again.

    :param client: the client.
    :param index_name: the index.
    :param expected: what it should hold; with ``ids`` :class:`.expected.Everything`.
    :param ids: list the index, and compare the sets of ids too.
    :param id_prefix: with ``ids``: only ids that begin so are looked at.
    :param changed_by: what the marks among the expected are made of, see :func:`.marks.marker`.
    :param refused: so many of the expected were refused by the API, and it is not known which: so many may differ.
    :param requests_per_minute: pace.
    :param stop: ends it when set.
    :raises VerificationError: naming ids and what differs; ``error.report`` has the report.
    """
    stop = stop or threading.Event()
    pace = Pace(requests_per_minute, stop)
    checked = len(expected)
    requests = -(-checked // MAX_GET_IDS)
    log.info(
        "Reading %d of %d records back from index %r: %d requests, %s at %d a minute",
        checked,
        expected.seen,
        index_name,
        requests,
        minutes(requests, requests_per_minute),
        requests_per_minute,
    )
    compare = _comparison(changed_by)
    wrong = _differences(client, index_name, expected.items(), compare, pace)
    strangers = set(_strangers(client, index_name, expected, id_prefix, pace)) if ids else set()
    for pause in LOOK_AGAIN_SECONDS:
        if not wrong and not strangers:
            break
        log.info(
            "%d records differ; reads lag, so they are read again in %.0f s",
            len(wrong) + len(strangers),
            pause,
        )
        if stop.wait(pause):
            raise IngestAbortedError("The verification was told to stop")
        again = ((each, mark) for each, (mark, _) in wrong.items())
        wrong = _differences(client, index_name, again, compare, pace)
        strangers = {
            vector.id
            for page in pages(sorted(strangers), MAX_GET_IDS)
            for vector in _read_back(client, index_name, page, pace)
        }
    share = 0.0 if expected.complete else 1 - 0.01 ** (1 / checked) if checked else 1.0
    named = chain(
        ((each, what) for each, (_, what) in wrong.items()), ((each, "extra") for each in sorted(strangers))
    )
    report = VerifyReport(
        index_name,
        records=expected.seen,
        checked=checked,
        different=len(wrong),
        extra=len(strangers) if ids else None,
        found_from=share,
        differences=tuple(islice(named, MAX_NAMED)),
    )
    if len(wrong) > refused or strangers:
        error = VerificationError(_explain(report))
        error.report, error.ids = report, list(wrong)
        raise error
    if wrong:
        log.warning(
            "Of the %d records that the API refused these %d seem to be: %s",
            refused,
            len(wrong),
            ", ".join(repr(each) for each, _ in report.differences),
        )
    log.info(
        "Index %r holds what the source says: %d of %d records compared. %s",
        index_name,
        checked,
        expected.seen,
        f"Damage to {share:.2%} of them or more would have been found with 99 % certainty"
        if share
        else "None differs",
    )
    return report


#: From what is expected and the vector that was found to what differs, "" for nothing.
Comparison = Callable[[bytes, Vector], str]


def _comparison(changed_by: str) -> Comparison:
    """Choose how to compare: by :func:`.expected.parts`, or by the mark of a record that was not made."""
    mark_of = marker(changed_by)

    def compare(expected: bytes, found: Vector) -> str:
        if len(expected) != DIGEST_BYTES:
            names = differing(expected, parts(stored(found)))
            return " and ".join(names) + " differ" if names else ""
        try:
            same = mark_of(stored(found)) == expected
        except FlawError:
            same = False
        return "" if same else f"{changed_by} differs"

    return compare


def _differences(
    client: Client, index_name: str, items: Iterable[tuple[str, bytes]], compare: Comparison, pace: Pace
) -> dict[str, tuple[bytes, str]]:
    wrong: dict[str, tuple[bytes, str]] = {}
    source = iter(items)
    while len(wrong) < MAX_DIFFERENCES and (page := dict(islice(source, MAX_GET_IDS))):
        found = {vector.id: vector for vector in _read_back(client, index_name, list(page), pace)}
        for record_id, mark in page.items():
            what = compare(mark, found[record_id]) if record_id in found else "missing"
            if what:
                wrong[record_id] = mark, what
    return wrong


def _strangers(
    client: Client, index_name: str, expected: Expected, id_prefix: str | None, pace: Pace
) -> Iterator[str]:
    if not isinstance(expected, Everything):
        raise InvalidArgumentError("id sets can only be compared with all records")
    prefix = id_prefix or ""
    ids = chain.from_iterable(listed(client, index_name, pace))
    return islice((each for each in ids if each.startswith(prefix) and each not in expected), MAX_DIFFERENCES)


def _read_back(client: Client, index_name: str, ids: list[str], pace: Pace) -> Sequence[Vector]:
    pace()
    return client.get_by_ids(index_name, ids)


def _explain(report: VerifyReport) -> str:
    count = report.different + (report.extra or 0)
    named = "\n".join(f"{record_id!r}: {what}" for record_id, what in report.differences)
    more = f"\n... and {count - len(report.differences)} more" if count > len(report.differences) else ""
    return (
        f"index {report.index_name!r} does not hold what the source says: of {report.checked} records that were "
        f"compared (of {report.records}) {report.different} are missing or differ"
        + (f", and {report.extra} ids are there that the source has not" if report.extra else "")
        + f". Load them again (a sync that did not find it out by itself: with force=True):\n{named}{more}"
    )
