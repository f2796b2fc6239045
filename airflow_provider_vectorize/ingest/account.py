"""The running account of a load: sums, and how far everything is settled."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.rejects import MAX_NAMED, Reject
from airflow_provider_vectorize.ingest.sources import START, Position
from airflow_provider_vectorize.visibility import Probe

#: Mutation ids that are kept, the last ones.
MAX_MUTATION_IDS = 20
#: Remarks that are kept, the first ones.
MAX_MESSAGES = 20


@dataclass(slots=True)
class Account:
    """The running account of a load, over all of its tries as far as they are known.

    :param position: up to here everything is settled: accepted, refused or superseded.
    :param sent_to: behind the last record that may have been sent.
    :param chunks: number of chunks up to the position.
    :param seconds: time that earlier tries took.
    :param last_accepted: place before the last accepted record.
    :param complete: the load is done.
    :param named: the first refused records.
    :param refusals: how many were refused, by code.
    :param sent_before: behind the last record that an earlier try may have sent.
    :param tried_to: behind the last record that was sent by this try, or settled before it.
    :param furthest: behind the last record that was accepted.
    :param unsettled: places before records that this try has sent, or was about to, without an answer.
    """

    position: Position = START
    sent_to: Position = START
    chunks: int = 0
    accepted: int = 0
    rejected: int = 0
    superseded: int = 0
    bytes_read: int = 0
    bytes_sent: int = 0
    batches: int = 0
    retries: int = 0
    seconds: float = 0.0
    mutation_ids: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    last_accepted: Position | None = None
    complete: bool = False
    named: list[Reject] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    # Of this try; what follows is not kept for the next.
    sent_before: Position = field(init=False)
    tried_to: Position = field(init=False)
    furthest: Position = field(init=False)
    unsettled: list[Position] = field(init=False, default_factory=list)
    _settled: Account | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.sent_before = self.sent_to
        self.tried_to = self.furthest = self.position

    @property
    def records(self) -> int:
        """Records that are settled."""
        return self.accepted + self.rejected + self.superseded

    def sending_to(self, end: Position) -> None:
        """Take note that what comes before a place is about to be sent."""
        self.tried_to = end
        self.sent_to = max(self.sent_to, end)

    def add(self, outcome: Outcome) -> None:
        """Enter what became of a chunk; outcomes come in the order of the chunks.

        Once a chunk has failed, what comes after it counts, but nothing can be continued behind it.
        """
        if outcome.error is not None and self._settled is None:
            self._settled = copy.deepcopy(self)
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
        self.named += outcome.rejects[: MAX_NAMED - len(self.named)]
        for reject in outcome.rejects:
            self.refusals[reject.code] = self.refusals.get(reject.code, 0) + 1
        self.unsettled += outcome.unsettled
        if outcome.last_accepted is not None:
            self.last_accepted = outcome.last_accepted[1]
            self.furthest = outcome.end
        if self._settled is None:
            self.position = self.furthest = outcome.end
            self.chunks = outcome.number + 1

    @property
    def settled(self) -> Account:
        """The account up to the position, where a later try goes on."""
        return self if self._settled is None else replace(self._settled, sent_to=self.sent_to)

    def remark(self, *messages: str) -> None:
        """Keep remarks, each once."""
        for message in messages:
            if message not in self.messages and len(self.messages) < MAX_MESSAGES:
                self.messages.append(message)
