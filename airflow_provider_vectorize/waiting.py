"""Looking at an index, and what a wait knows of it: the only I/O of waiting. Knows nothing of Airflow.

A look costs one *index info*, and at most two *get by ids* of 20 ids each, however many waits it serves; a fence is
one more request, at most once in three looks. The loops that look again and again are the callers': poke, trigger and
``hook.wait_for_mutation``.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice, zip_longest
from typing import Any, Protocol

import orjson

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import MutationTimeoutError, RateLimitError, VectorizeError
from airflow_provider_vectorize.client.limits import MAX_GET_IDS
from airflow_provider_vectorize.client.types import IndexInfo, Vector
from airflow_provider_vectorize.visibility import (
    Observation,
    Probe,
    ReadBack,
    Target,
    Visible,
    decide,
    describe_timeout,
    digest,
    observe,
)
from airflow_provider_vectorize.wording import in_short_lines

log = logging.getLogger(__name__)

#: An id that nobody writes: to delete it changes nothing. Ids of sentinels begin with it, and are in a namespace of
#: that name.
FENCE_ID = "airflow-fence"

#: Ids that one look reads back at most: two requests.
MAX_READ_BACK_IDS = 2 * MAX_GET_IDS
#: Looks of which one may write a fence.
LOOKS_A_FENCE = 3
#: Fences that a wait remembers; by then the first ones are long past.
MAX_FENCES = 100
#: Proofs that the log names.
MAX_EVIDENCE = 20
#: Seconds between two lines in the log that say what is waited for.
STATUS_SECONDS = 60.0
#: What :func:`sleep_briefly` sleeps at most.
BRIEF_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A vector that whoever waits writes, reads back and deletes.

    Everyone who waits for the same writes makes the same one, and knows it again: it says that all of them had been
    accepted. So nothing has to be remembered between two looks.

    :param id: its id.
    :param mark: stands for the mutations that were accepted before.
    """

    id: str
    mark: str

    @classmethod
    def of(cls, owner: str | None, targets: Iterable[Target]) -> Sentinel:
        """Make the sentinel of a wait.

        :param owner: who waits; the same owner uses the same id again, so that nothing piles up. None: whoever
            waits for these writes.
        :param targets: what it waits for.
        """
        mutations = "\n".join(sorted(target.mutation_id for target in targets))
        return cls(f"{FENCE_ID}-{_short_hash(owner or mutations)}", _short_hash(mutations))

    def record(self, dimensions: int) -> dict[str, Any]:
        """Give the vector, of that many dimensions."""
        return {
            "id": self.id,
            "values": [1.0] + [0.0] * (dimensions - 1),
            "namespace": FENCE_ID,
            "metadata": {"mark": self.mark},
        }

    def probe(self, dimensions: int) -> Probe:
        """Give what it reads back as, with that many dimensions."""
        record = self.record(dimensions)
        return Probe(self.id, digest(record["values"], record["namespace"], record["metadata"]))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a look is to prove for a wait, and by what.

    :param targets: mutations.
    :param fences: mutations of ours that were sent after all of them had been accepted.
    :param sentinel: the wait's sentinel, if it has one.
    """

    targets: Sequence[Target]
    fences: frozenset[str] = frozenset()
    sentinel: Sentinel | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look has shown.

    :param watermark: the last mutation of the batch that was applied last; None on a new index.
    :param dimensions: of the index.
    :param visible: for each claim, the proof for each of its targets that can be seen.
    :param read: the ids that were read back.
    """

    watermark: str | None
    dimensions: int
    visible: Sequence[Mapping[Target, Visible]]
    read: frozenset[str]


class Client(Protocol):
    """What a look needs of :class:`~airflow_provider_vectorize.client.VectorizeClient`."""

    def index_info(self, index_name: str) -> IndexInfo:
        """Get the number of vectors, and the watermark."""
        ...

    def get_by_ids(self, index_name: str, ids: list[str]) -> Sequence[Vector]:
        """Get vectors; ids that are not in the index are left out."""
        ...


def look(client: Client, index_name: str, claims: Sequence[Claim]) -> Look:
    """Look once whether targets can be seen.

    When there are more ids to read than one look reads, claims are served in their order, and within a claim chance
    says which comes first: a poke in ``reschedule`` mode does not know what an earlier one has read.

    :param client: should make one attempt only and never sleep, see :func:`refuse_to_sleep`: the next look is the
        next attempt.
    :param index_name: the index that all targets were written to.
    :param claims: what to prove.
    :raises VectorizeError: unless it is permanent, it says nothing about the targets.
    """
    info = client.index_info(index_name)
    watermark = info.processed_up_to_mutation
    visible: list[dict[Target, Visible]] = [{} for _ in claims]
    sentinels = [
        None if claim.sentinel is None else claim.sentinel.probe(info.dimensions) for claim in claims
    ]

    def judge(seen: Observation) -> list[tuple[str, ...]]:
        to_read: list[tuple[str, ...]] = []
        for claim, sentinel, proved in zip(claims, sentinels, visible, strict=True):
            if sentinel is not None:
                to_read.append((sentinel.id,))
            for target in random.sample(claim.targets, len(claim.targets)):
                decision = decide(target, seen, fences=claim.fences, sentinel=sentinel)
                if isinstance(decision, Visible):
                    proved[target] = decision
                elif isinstance(decision, ReadBack):
                    start = random.randrange(len(decision.ids))  # noqa: S311  # gives turns, guards nothing
                    to_read.append(decision.ids[start:] + decision.ids[:start])
        return to_read

    to_read = judge(Observation(watermark))
    pending = sum(len(claim.targets) for claim in claims) - sum(map(len, visible))
    # The first probe of each, then the second of each, and so on: each gets its turn.
    turns = chain.from_iterable(zip_longest(*to_read))
    unique = dict.fromkeys(each for each in turns if each is not None) if pending else {}
    ids = list(islice(unique, MAX_READ_BACK_IDS))
    if ids:
        judge(observe(watermark, ids, client.get_by_ids(index_name, ids)))
    return Look(watermark, info.dimensions, visible, frozenset(ids))


class Fencer:
    """Write fences to an index: at the first look that needs one, then at a random one of every three.

    In step with another writer a fence would be overtaken for ever; by chance it is the last of a batch some time.

    :param index_name: the index.
    """

    def __init__(self, index_name: str) -> None:
        self._index_name = index_name
        self._turns = [False] * (LOOKS_A_FENCE - 1) + [True]
        self._due = False
        #: Why the API has refused a fence, as with a token that may only read: then there are none.
        self.refused: str | None = None

    def begin(self) -> None:
        """Take note that a look begins."""
        self._turns = self._turns or random.sample([True] + [False] * (LOOKS_A_FENCE - 1), LOOKS_A_FENCE)
        self._due = self._turns.pop() or self._due

    def forget(self) -> None:
        """Leave it to chance whether the next look writes one: what earlier looks did is not known."""
        self._turns = [random.randrange(LOOKS_A_FENCE) == 0]  # noqa: S311  # as above

    @property
    def due(self) -> bool:
        """Whether this look may write a fence."""
        return self._due and self.refused is None

    def write(self, client: VectorizeClient, dimensions: int, sentinel: Sentinel | None = None) -> str | None:
        """Write a fence, and give its mutation. A failure is logged: the wait goes on without.

        :param dimensions: of the index.
        :param sentinel: what to write; None deletes an id that does not exist.
        """
        self._due = False
        try:
            if sentinel is None:
                return client.delete_by_ids(self._index_name, [FENCE_ID])[0].id
            body = orjson.dumps(sentinel.record(dimensions)) + b"\n"
            return client.upsert(self._index_name, body).id
        except VectorizeError as error:
            if error.permanent:
                self.refused = str(error)
                what = "no fence can be written, so the wait goes on without"
            else:
                what = "a fence could not be written"
            log.warning("%s", in_short_lines(f"Index {self._index_name!r}: {what}: {error}"))
            return None


class Wait:
    """What is known of a wait: what can be seen already, and what cannot.

    :param index_name: the index that all targets were written to.
    :param targets: what to wait for.
    :param sentinel: the vector to prove it by, if there is to be one.
    :param fences: mutations of ours that were sent after all targets had been accepted.
    :param more: how many other writes, accepted too, only a fence can prove here.
    """

    def __init__(
        self,
        index_name: str,
        targets: Sequence[Target],
        *,
        sentinel: Sentinel | None = None,
        fences: Iterable[str] = (),
        more: int = 0,
    ) -> None:
        self.index_name = index_name
        self.targets = tuple(dict.fromkeys(targets))
        self.pending = list(self.targets)
        self.sentinel = sentinel
        self.fences = deque(fences, maxlen=MAX_FENCES)
        self.more = more
        self.fencer = Fencer(index_name)
        self.evidence: dict[str, str] = {}
        self._looked = False
        self._told = float("-inf")
        self.watermark: str | None = None
        self._failure: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether all targets can be seen."""
        return not self.pending

    def claim(self) -> Claim:
        """Say what a look is to prove."""
        return Claim(tuple(self.pending), frozenset(self.fences), self.sentinel)

    def look(self, client: VectorizeClient) -> bool:
        """Look, and tell whether everything can be seen; write a fence if it is time to.

        One look may not reach every target; the next follows at once as long as there are proofs to be found.

        :raises VectorizeError: only a permanent one: any other says nothing about the writes, and the wait goes on.
        """
        self.fencer.begin()
        try:
            while True:
                seen = look(client, self.index_name, [self.claim()])
                self.learn(seen.watermark, seen.visible[0])
                if self.done or not seen.visible[0] or len(seen.read) < MAX_READ_BACK_IDS:
                    break
        except VectorizeError as error:
            if error.permanent:
                raise
            log.warning("%s", in_short_lines(f"Could not look at index {self.index_name!r}: {error}"))
            self.fail(error)
            return False
        if self.done:
            self.log_evidence(log)
        elif seen.watermark is not None and self.fencer.due:
            fence = self.fencer.write(client, seen.dimensions, self.sentinel)
            if fence is not None:
                self.fences.append(fence)
        return self.done

    def log_evidence(self, to: Any) -> None:
        """Name the proof for each mutation.

        :param to: a logger.
        """
        for mutation_id, evidence in islice(self.evidence.items(), MAX_EVIDENCE):
            to.info("Mutation %s can be seen: %s", mutation_id, evidence)
        if len(self.evidence) > MAX_EVIDENCE:
            to.info("So can %d more", len(self.evidence) - MAX_EVIDENCE)

    def learn(self, watermark: str | None, visible: Mapping[Target, Visible]) -> None:
        """Take in what a look has shown."""
        self.watermark, self._failure, self._looked = watermark, None, True
        if any(proof.by_fence for proof in visible.values()):
            self.more = 0
        self.evidence |= {target.mutation_id: proof.evidence for target, proof in visible.items()}
        self.pending = [target for target in self.pending if target not in visible]

    def fail(self, error: Exception) -> None:
        """Take in that a look has failed."""
        self._failure = error

    def status(self) -> str:
        """Say in short what is waited for, and where the index is."""
        ids = self.pending[0].mutation_id if self.pending else "nothing"
        if (others := len(self.pending) - 1 + self.more) > 0:
            ids += f" and {others} more"
        where = f"; the index is at {self.watermark or '(no mutation yet)'}" if self._looked else ""
        if self._failure is not None:
            where += f".\nThe last look failed: {self._failure}"
        return ids + where

    def tell(self, to: Any, until: datetime | None) -> None:
        """Say what is waited for, once a minute.

        :param to: a logger.
        :param until: the deadline, if it is known.
        """
        now = time.monotonic()
        if now - self._told >= STATUS_SECONDS:
            self._told = now
            when = "" if until is None else f" until {until.astimezone():%H:%M:%S}"
            to.info("%s", in_short_lines(f"Waiting{when} for {self.status()}"))

    def timed_out(self, seconds: float) -> MutationTimeoutError:
        """Make the error for the deadline.

        :param seconds: how long the wait was.
        """
        return MutationTimeoutError(
            describe_timeout(
                self.index_name,
                self.pending,
                seconds,
                self.watermark,
                self._failure,
                more=self.more,
                sentinel=self.sentinel is not None,
                refused=self.fencer.refused,
            )
        )


def refuse_to_sleep(seconds: float) -> None:
    """Stand in for ``sleep`` in a client that polls: a throttled token makes the look fail at once.

    :raises RateLimitError: always; a transient error.
    """
    raise RateLimitError(
        f"the token is throttled for another {seconds:.0f} s", status=429, retry_after=max(seconds, 0.0)
    )


def sleep_briefly(seconds: float) -> None:
    """Stand in for ``sleep`` in a client whose work is not worth a long wait: it gives up instead.

    :raises RateLimitError: when the token is throttled for longer.
    """
    if seconds > BRIEF_SECONDS:
        refuse_to_sleep(seconds)
    time.sleep(seconds)


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
