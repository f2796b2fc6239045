"""Looking at an index, and what a wait knows of it: the only I/O of waiting. Knows nothing of Airflow.

A look costs one *index info*, and at most two *get by ids* of 20 ids each, however many waits it serves. The loops
that look again and again are the callers': poke, trigger and ``hook.wait_for_mutation``.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import orjson

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import MutationTimeoutError, RateLimitError, VectorizeError
from airflow_provider_vectorize.client.limits import MAX_GET_IDS
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

log = logging.getLogger(__name__)

SENTINEL_NAMESPACE = "airflow-fence"
#: With a mutation id of at most 36 characters behind it, within the 64 bytes of an id.
SENTINEL_PREFIX = "airflow-fence-"

#: Ids that one look reads back at most: two requests.
MAX_READ_BACK_IDS = 2 * MAX_GET_IDS
#: What :func:`sleep_briefly` sleeps at most.
BRIEF_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one look has shown.

    :param watermark: the last mutation of the batch that was applied last; None on a new index.
    :param visible: the evidence for each target that can be seen.
    :param read: the ids that were read back.
    """

    watermark: str | None
    visible: Mapping[Target, str]
    read: frozenset[str]


def look(client: VectorizeClient, index_name: str, targets: Sequence[Target], turn: int = 0) -> Look:
    """Look once whether the targets can be seen.

    :param client: should make one attempt only and never sleep, see :func:`refuse_to_sleep`: the next look is the
        next attempt.
    :param index_name: the index that all targets were written to.
    :param targets: when there are more probes than one look reads, they are read in this order.
    :param turn: which of its probes a target starts with, when not all can be read.
    :raises VectorizeError: unless it is permanent, it says nothing about the targets.
    """
    watermark = client.index_info(index_name).processed_up_to_mutation
    visible: dict[Target, str] = {}
    waiting: dict[Target, tuple[str, ...]] = {}
    for target in targets:
        match decide(target, Observation(watermark)):
            case Visible(evidence):
                visible[target] = evidence
            case ReadBack(probe_ids):
                start = turn % len(probe_ids)
                waiting[target] = probe_ids[start:] + probe_ids[:start]
    # The first probe of each, then the second of each, and so on: each wait gets its turn.
    turns = chain.from_iterable(zip_longest(*waiting.values()))
    ids = list(dict.fromkeys(turn for turn in turns if turn is not None))[:MAX_READ_BACK_IDS]
    if ids:
        seen = observe(watermark, ids, client.get_by_ids(index_name, ids))
        for target in waiting:
            if isinstance(decision := decide(target, seen), Visible):
                visible[target] = decision.evidence
    return Look(watermark, visible, frozenset(ids))


class Wait:
    """What is known of a wait: what can be seen already, and what cannot.

    :param index_name: the index that all targets were written to.
    :param targets: what to wait for.
    """

    def __init__(self, index_name: str, targets: Sequence[Target]) -> None:
        self.index_name = index_name
        self.targets = tuple(targets)
        self.pending = list(self.targets)
        self.evidence: dict[str, str] = {}
        self._watermark: str | None = None
        self._failure: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether everything can be seen."""
        return not self.pending

    def look(self, client: VectorizeClient) -> bool:
        """Look, and tell whether everything can be seen.

        One look may not reach every target; the next follows at once as long as there are proofs to be found.

        :raises VectorizeError: only a permanent one: any other says nothing about the writes, and the wait goes on.
        """
        try:
            while True:
                # In reschedule mode no poke knows what an earlier one has read: chance gives each its turn.
                targets = random.sample(self.pending, len(self.pending))
                seen = look(client, self.index_name, targets, turn=random.getrandbits(16))
                self.learn(seen)
                if self.done or not seen.visible or len(seen.read) < MAX_READ_BACK_IDS:
                    break
        except VectorizeError as error:
            log.warning("Could not look at index %r: %s", self.index_name, error)
            if error.permanent:
                raise
            self.fail(error)
        if self.done:
            self.log_evidence(log)
        return self.done

    def log_evidence(self, to: Any) -> None:
        """Name the proof for each mutation.

        :param to: a logger.
        """
        for mutation_id, evidence in self.evidence.items():
            to.info("Mutation %s can be seen: %s", mutation_id, evidence)

    def learn(self, seen: Look) -> None:
        """Take in what a look has shown."""
        self._watermark, self._failure = seen.watermark, None
        for target in self.pending:
            if target in seen.visible:
                self.evidence[target.mutation_id] = seen.visible[target]
        self.pending = [target for target in self.pending if target not in seen.visible]

    def fail(self, error: Exception) -> None:
        """Take in that a look has failed."""
        self._failure = error

    def timed_out(self, seconds: float) -> MutationTimeoutError:
        """Make the error for the deadline.

        :param seconds: how long the wait was.
        """
        return MutationTimeoutError(
            describe_timeout(self.index_name, self.pending, seconds, self._watermark, self._failure)
        )


def write_sentinel(client: VectorizeClient, index_name: str, mutation_id: str) -> Target:
    """Write a vector only to recognise a write by, and give what to wait for.

    It is sent after the write was accepted, so it is applied after it; and nobody else writes its id, so it can
    always be proved, until whoever has seen it deletes it. The price is that the vector is in the index for a
    moment. A retry writes the same id again.

    :param client: the client that uploads.
    :param index_name: the index.
    :param mutation_id: the write, accepted before.
    :raises VectorizeError: the sentinel could not be written.
    """
    sentinel = SENTINEL_PREFIX + mutation_id
    values = [1.0] + [0.0] * (client.get_index(index_name).dimensions - 1)
    record = {"id": sentinel, "values": values, "namespace": SENTINEL_NAMESPACE}
    mutation = client.upsert(index_name, orjson.dumps(record) + b"\n")
    probe = Probe(sentinel, digest(values, SENTINEL_NAMESPACE, None))
    return Target(mutation_id, later=(mutation.id,), probes=(probe,), sentinel=sentinel)


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
