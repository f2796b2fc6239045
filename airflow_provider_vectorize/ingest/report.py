"""What a load has done: the running account, and the report made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.rejects import MAX_NAMED, Reject
from airflow_provider_vectorize.ingest.sources import START, Position
from airflow_provider_vectorize.visibility import Probe, Target

#: Mutation ids that are kept, the last ones.
MAX_MUTATION_IDS = 1_000
#: Remarks that are kept, the first ones.
MAX_MESSAGES = 20


class Span(NamedTuple):
    """Lines of a source, the first and the last included.

    :param source: its name.
    :param first: counted from 1.
    :param last: counted from 1.
    """

    source: str
    first: int
    last: int

    def __str__(self) -> str:
        lines = f"line {self.first}" if self.first == self.last else f"lines {self.first} to {self.last}"
        return f"{self.source}, {lines}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a load has done. ``accepted + rejected + superseded`` is the number of records read.

    :param index_name: the index.
    :param operation: ``upsert`` or ``insert``.
    :param mutation_id: the fence: once this mutation can be seen, all of the load can. On a report of a load that
        failed: the last mutation. None when nothing was accepted.
    :param mutation_ids: the last 1,000 mutations, in the order of the source.
    :param batches: requests that the API accepted.
    :param accepted: records that the API accepted; None with ``unparsable_behavior="discard"``, which hides it.
    :param rejected: records that were refused, here or by the API.
    :param superseded: records left out since their id comes again in the same request.
    :param bytes_read: bytes of NDJSON, after decompression; 0 for mappings.
    :param bytes_sent: bytes of the requests that the API accepted.
    :param seconds: time that this try took.
    :param retries: requests that had to be repeated.
    :param resumed_from: where an earlier try stopped and this one went on, as ``[source, line]``; None if it began
        at the beginning.
    :param sources: names of what was read.
    :param messages: what the API and the checks remarked, the first 20.
    :param probes: records by which the load can be recognised in the index, as ``[id, digest]``.
    :param stopped_at: on a load that failed: from this ``[source, line]`` on nothing was accepted. None on success.
    :param unsettled: on a load that failed: spans before that, ``[source, first line, last line]``, of records that
        were neither accepted nor refused. They were sent, or about to be: some may be in the index.
    """

    index_name: str
    operation: str
    mutation_id: str | None
    mutation_ids: tuple[str, ...]
    batches: int
    accepted: int | None
    rejected: int
    superseded: int
    bytes_read: int
    bytes_sent: int
    seconds: float
    retries: int
    resumed_from: tuple[str, int] | None
    sources: tuple[str, ...]
    messages: tuple[str, ...]
    probes: tuple[Probe, ...]
    stopped_at: tuple[str, int] | None = None
    unsettled: tuple[Span, ...] = ()

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


@dataclass(slots=True)
class Account:
    """The running account of a load. All of its fields but the last three are kept in the checkpoint.

    :param position: up to here everything is settled: accepted, refused or superseded.
    :param chunks: number of chunks up to there.
    :param last_accepted: place before the last accepted record.
    :param complete: the load is done.
    :param named: the first refused records.
    :param furthest: behind the last record that was accepted.
    :param unsettled: places before records that were sent, or about to be, without an answer.
    :param broken: a chunk has failed; what comes after it counts, but nothing can be continued behind it.
    """

    position: Position = START
    chunks: int = 0
    accepted: int = 0
    rejected: int = 0
    superseded: int = 0
    bytes_read: int = 0
    bytes_sent: int = 0
    batches: int = 0
    retries: int = 0
    mutation_ids: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    last_accepted: Position | None = None
    complete: bool = False
    named: list[Reject] = field(default_factory=list)
    furthest: Position = START
    unsettled: list[Position] = field(default_factory=list)
    broken: bool = False

    @property
    def records(self) -> int:
        """Records that are settled."""
        return self.accepted + self.rejected + self.superseded

    def add(self, outcome: Outcome) -> bool:
        """Enter what became of a chunk; outcomes come in the order of the chunks.

        :returns: whether everything up to the end of that chunk is settled, so that a checkpoint may be stored.
        """
        self.accepted += outcome.accepted
        self.rejected += len(outcome.rejects)
        self.superseded += outcome.superseded
        self.bytes_read += outcome.bytes_read
        self.bytes_sent += outcome.bytes_sent
        self.batches += len(outcome.mutations)
        for mutation in outcome.mutations:
            self.retries += mutation.attempts - 1
            self.mutation_ids.append(mutation.id)
            self.remark(*mutation.messages)
        del self.mutation_ids[:-MAX_MUTATION_IDS]
        self.named += [each._replace(kept=b"") for each in outcome.rejects[: MAX_NAMED - len(self.named)]]
        self.unsettled += outcome.unsettled
        if outcome.last_accepted is not None:
            self.last_accepted = outcome.last_accepted[1]
            self.furthest = outcome.end
        self.broken = self.broken or outcome.error is not None
        if self.broken:
            return False
        self.position = self.furthest = outcome.end
        self.chunks = outcome.number + 1
        self.probes = list(outcome.probes)
        self.complete = outcome.is_last
        return True

    def remark(self, *messages: str) -> None:
        """Keep remarks, each once."""
        for message in messages:
            if message not in self.messages and len(self.messages) < MAX_MESSAGES:
                self.messages.append(message)

    def report(
        self,
        index_name: str,
        options: IngestOptions,
        names: Sequence[str],
        *,
        seconds: float,
        resumed_from: tuple[str, int] | None,
        failed: bool,
    ) -> Report:
        """Make the report of what is entered so far.

        :param names: names of the sources.
        :param failed: whether the load is over without having done all.
        """
        return Report(
            index_name=index_name,
            operation=options.operation,
            mutation_id=self.mutation_ids[-1] if self.mutation_ids else None,
            mutation_ids=tuple(self.mutation_ids),
            batches=self.batches,
            accepted=self.accepted if options.unparsable_behavior == "error" else None,
            rejected=self.rejected,
            superseded=self.superseded,
            bytes_read=self.bytes_read,
            bytes_sent=self.bytes_sent,
            seconds=round(seconds, 3),
            retries=self.retries,
            resumed_from=resumed_from,
            sources=tuple(names),
            messages=tuple(self.messages),
            probes=tuple(self.probes),
            stopped_at=self.furthest.within(names) if failed and not self.complete else None,
            unsettled=self.spans(names),
        )

    def to_state(self) -> dict[str, Any]:
        """As JSON, for the checkpoint."""
        state = {name: _json(value) for name, value in asdict(self).items() if name not in _OF_THIS_TRY}
        return state | {
            "probes": [[probe.id, probe.digest] for probe in self.probes],
            "named": [list(reject[:-1]) for reject in self.named],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_state` wrote."""
        account = cls(**state)
        account.position = account.furthest = Position(*state["position"])
        account.last_accepted = state["last_accepted"] and Position(*state["last_accepted"])
        account.probes = [Probe(*probe) for probe in state["probes"]]
        account.named = [Reject(*reject) for reject in state["named"]]
        return account

    def spans(self, names: Sequence[str]) -> tuple[Span, ...]:
        """Give what is unsettled as spans of lines."""
        spans: list[Span] = []
        for source, line in sorted({(place.source, place.line + 1) for place in self.unsettled}):
            name = names[source]
            if spans and spans[-1].source == name and spans[-1].last + 1 == line:
                spans[-1] = spans[-1]._replace(last=line)
            else:
                spans.append(Span(name, line, line))
        return tuple(spans)


_OF_THIS_TRY = ("furthest", "unsettled", "broken")


def _json(value: Any) -> Any:
    return [_json(each) for each in value] if isinstance(value, list | tuple) else value
