"""When logged writes become visible: pure rules, no clock and no storage of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from airflow_provider_vectorize.emulator.settings import BATCH_VECTORS, BATCH_WRITES

Mode = Literal["immediate", "delay", "polls", "manual"]


@dataclass(frozen=True)
class Visibility:
    """When the job runs that makes writes visible.

    :param mode: ``immediate``: with the write. ``delay``: ``value`` seconds after the oldest write that waits.
        ``polls``: once ``info`` was asked ``value`` times in vain. ``manual``: when told to.
    :param value: seconds or polls; not used by the other modes.
    """

    mode: Mode = "immediate"
    value: float = 0

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, not {self.mode!r}")
        if type(self.value) not in (int, float) or not 0 <= self.value < 1e9:
            raise ValueError(f"value must be a number of at least 0, not {self.value!r}")


@dataclass(frozen=True)
class Pending:
    """A write that is logged and cannot be seen yet."""

    seq: int
    mutation_id: str
    vectors: int
    count: int
    logged_at: float


def due(visibility: Visibility, pending: Sequence[Pending], applied_at: float | None) -> float | None:
    """Tell when the job runs next by the clock alone; None if it does not.

    :param pending: the oldest writes that wait, in log order.
    :param applied_at: when the job ran last.
    """
    if not pending or visibility.mode not in ("immediate", "delay"):
        return None
    wait = visibility.value if visibility.mode == "delay" else 0
    return max(pending[0].logged_at, applied_at or 0) + wait


def batch(pending: Sequence[Pending], now: float) -> Sequence[Pending]:
    """Cut the writes that one run of the job takes: those logged by ``now``, up to the job's limits.

    :param pending: the oldest writes that wait, in log order.
    :returns: a prefix of it, with one write at least.
    """
    vectors = 0
    for position, write in enumerate(pending[:BATCH_WRITES]):
        vectors += write.vectors
        if position and (vectors > BATCH_VECTORS or write.logged_at > now):
            return pending[:position]
    return pending[:BATCH_WRITES]
