"""What a load has done, for whoever asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Self

from airflow_provider_vectorize.ingest.account import Account
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.visibility import Probe, Target

#: Names of sources that a report holds, the first ones.
MAX_SOURCES = 100


class Span(NamedTuple):
    """Lines of a source, the first and the last included.

    :param source: its name.
    :param first: counted from 1.
    :param last: counted from 1; None: the last of that source.
    """

    source: str
    first: int
    last: int | None

    def __str__(self) -> str:
        if self.last is None:
            return f"{self.source}, from line {self.first} on"
        lines = f"line {self.first}" if self.first == self.last else f"lines {self.first} to {self.last}"
        return f"{self.source}, {lines}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a load has done. ``accepted + rejected + superseded`` is the number of records read.

    :param accepted: records that the API accepted; None with ``unparsable_behavior="discard"``, which hides it.
    :param rejected: records that were refused, here or by the API.
    :param superseded: records left out since their id comes again in the same request.
    :param rejects: of the refused records the ``folder``, None where they were not kept, and in ``codes`` their number
        by code.
    :param index_name: the index.
    :param operation: ``upsert`` or ``insert``.
    :param batches: requests that the API accepted.
    :param bytes_read: bytes of NDJSON, after decompression; 0 for mappings and tables.
    :param bytes_sent: bytes of the requests that the API accepted.
    :param seconds: time that all tries took.
    :param retries: requests that had to be repeated.
    :param resumed_from: where an earlier try stopped and this one went on, as ``[source, line]``; None if it began
        at the beginning.
    :param stopped_at: on a load that failed: from this ``[source, line]`` on nothing was accepted, by earlier tries
        neither, as far as a checkpoint tells of them. None on success.
    :param unsettled: on a load that failed: spans, ``[source, first line, last line]``, of records that are not known
        to be accepted or refused. They were sent, or about to be, by this try or an earlier one: some may be in the
        index.
    :param messages: what the API and the checks remarked, the first 20.
    :param source_count: how many sources there are.
    :param sources: names of what was read, the first 100.
    :param mutation_id: the fence: once this mutation can be seen, all of the load can. On a report of a load that
        failed: the last mutation. None when nothing was accepted.
    :param mutation_ids: the last 20 mutations, in the order of the source.
    :param probes: records by which the load can be recognised in the index, as ``[id, digest]``.
    """

    accepted: int | None
    rejected: int
    superseded: int
    rejects: Mapping[str, Any] = field(default_factory=lambda: {"folder": None, "codes": {}})
    index_name: str
    operation: str
    batches: int
    bytes_read: int
    bytes_sent: int
    seconds: float
    retries: int
    resumed_from: tuple[str, int] | None
    stopped_at: tuple[str, int] | None = None
    unsettled: tuple[Span, ...] = ()
    messages: tuple[str, ...]
    source_count: int
    sources: tuple[str, ...]
    mutation_id: str | None
    mutation_ids: tuple[str, ...]
    probes: tuple[Probe, ...]

    @classmethod
    def empty(cls, index_name: str, operation: Literal["upsert", "insert", "delete"]) -> Self:
        """Make the report of a load that had nothing to send."""
        options = IngestOptions(operation=operation, max_batch_vectors=1)  # that of a delete is limited
        return cls.of(
            Account(), index_name, options, (), seconds=0.0, resumed_from=None, folder=None, failed=False
        )

    @classmethod
    def of(
        cls,
        account: Account,
        index_name: str,
        options: IngestOptions,
        names: Sequence[str],
        *,
        seconds: float,
        resumed_from: tuple[str, int] | None,
        folder: str | None,
        failed: bool,
    ) -> Self:
        """Make the report of what is entered so far.

        :param names: names of the sources.
        :param seconds: time that this try has taken.
        :param folder: of the refused records.
        :param failed: whether the load is over without having done all.
        """
        incomplete = failed and not account.complete
        return cls(
            accepted=account.accepted if options.unparsable_behavior == "error" else None,
            rejected=account.rejected,
            superseded=account.superseded,
            rejects={"folder": folder if account.rejected else None, "codes": dict(account.refusals)},
            index_name=index_name,
            operation=options.operation,
            batches=account.batches,
            bytes_read=account.bytes_read,
            bytes_sent=account.bytes_sent,
            seconds=round(account.seconds + seconds, 3),
            retries=account.retries,
            resumed_from=resumed_from,
            stopped_at=max(account.furthest, account.sent_before).within(names) if incomplete else None,
            unsettled=tuple(_spans(account, names)) if incomplete else (),
            messages=tuple(account.messages),
            source_count=len(names),
            sources=tuple(names[:MAX_SOURCES]),
            mutation_id=account.mutation_ids[-1] if account.mutation_ids else None,
            mutation_ids=tuple(account.mutation_ids),
            probes=tuple(account.probes),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON, for XCom."""
        data = {name: _json(value) for name, value in asdict(self).items()}
        return data | {"probes": [[probe.id, probe.digest] for probe in self.probes]}

    def target(self) -> Target:
        """What to wait for, for :func:`airflow_provider_vectorize.visibility.decide`.

        :raises ValueError: nothing was accepted.
        """
        if self.mutation_id is None:
            raise ValueError("nothing was accepted, so there is nothing to wait for")
        return Target(self.mutation_id, self.probes)


def _spans(account: Account, names: Sequence[str]) -> Iterator[Span]:
    """Give what is unsettled as spans of lines."""
    last: Span | None = None
    for source, line in sorted({(place.source, place.line + 1) for place in account.unsettled}):
        if last is not None and (last.source, last.last) == (names[source], line - 1):
            last = last._replace(last=line)
            continue
        if last is not None:
            yield last
        last = Span(names[source], line, line)
    if last is not None:
        yield last
    # What earlier tries have sent, and this one has not come to.
    start, end = account.tried_to, account.sent_before
    for source in range(start.source, end.source):
        yield Span(names[source], start.line + 1 if source == start.source else 1, None)
    first = start.line + 1 if start.source == end.source else 1
    if start.source <= end.source and first <= end.line:
        yield Span(names[end.source], first, end.line)


def _json(value: Any) -> Any:
    return [_json(each) for each in value] if isinstance(value, list | tuple) else value
