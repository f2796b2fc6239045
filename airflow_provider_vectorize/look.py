"""One look at an index for any number of waits: the only I/O of waiting. Knows nothing of Airflow.

A look costs one *index info*, and at most two *get by ids* of 20 ids each, however many waits it serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import RateLimitError
from airflow_provider_vectorize.client.limits import MAX_GET_IDS
from airflow_provider_vectorize.visibility import Observation, ReadBack, Target, Visible, decide, observe

#: Ids that one look reads back at most: two requests.
MAX_READ_BACK_IDS = 2 * MAX_GET_IDS


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
    :param targets: those that have waited longest first: when there are more probes than one look reads, they are
        read in this order.
    :param turn: which of its probes a target starts with, when not all can be read.
    :raises VectorizeError: a transient one says nothing about the targets.
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


def refuse_to_sleep(seconds: float) -> None:
    """Stand in for ``sleep`` in a client that polls: a throttled token makes the look fail at once.

    :raises RateLimitError: always; a transient error.
    """
    raise RateLimitError(
        f"the token is throttled for another {seconds:.0f} s", status=429, retry_after=max(seconds, 0.0)
    )
