"""When a write can be seen: a pure function from what is known and what was just seen to what to do next.

The API shows only the **last** mutation of each batch that it applied (the watermark), two mutation ids
cannot be ordered, and others may write to the same index. So waiting for the watermark to equal the mutation
can wait for ever, and taking any change of it for the answer ends early. These are the proofs, and there are
no others:

1. The watermark is the mutation itself.
2. The watermark is a **fence**: a mutation that whoever waits has sent **after the mutation's answer had arrived**.
   Writes are applied in the order in which they were logged, so it proves everything that was accepted before.
3. A **probe** reads back as it was sent: a record of that write which was known to differ before it.
4. The **sentinel** reads back: a fence that is a vector of its own, so that it is not overtaken by other writers.

What cannot be told apart: another write, not yet visible, of the very same vector. And one thing is taken for
granted: a read may lag behind what was applied, but shows nothing older than an earlier read of the same id did.

:func:`decide` has no clock and does no I/O. The loops around it (poke, trigger,
``hook.wait_for_mutation``) do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import orjson

from airflow_provider_vectorize.client.types import Vector

#: Records of a write that are kept to recognise it by.
MAX_PROBES = 3


@dataclass(frozen=True, slots=True)
class Probe:
    """A record by which a write can be recognised.

    :param id: the record's id.
    :param digest: :func:`digest` of the record as it was sent; None when the write deletes it.
    """

    id: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """A mutation to wait for, and what is known about it.

    :param mutation_id: the mutation.
    :param probes: at most :data:`MAX_PROBES` records that tell this write from the state before it.
    """

    mutation_id: str
    probes: tuple[Probe, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON: for XCom, and for the arguments of the trigger."""
        return {
            "mutation_id": self.mutation_id,
            "probes": [[probe.id, probe.digest] for probe in self.probes],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote, or a report; unknown keys are ignored."""
        return cls(
            mutation_id=str(data["mutation_id"]),
            probes=tuple(Probe(str(id_), digest) for id_, digest in data.get("probes") or ()),
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at the index has shown.

    :param watermark: the last mutation of the batch that was applied last; None on a new index.
    :param read_back: id -> :func:`digest` of the stored vector, None for an id that is not there. None as a
        whole: nothing was read back.
    """

    watermark: str | None
    read_back: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Visible:
    """The write can be seen.

    :param evidence: the proof, as a sentence for the log.
    :param by_fence: it proves everything that was accepted before the fence was sent.
    """

    evidence: str
    by_fence: bool = False


@dataclass(frozen=True, slots=True)
class ReadBack:
    """The watermark proves nothing: read these ids, then decide again."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WriteFence:
    """No proof, and the watermark is somebody else's: a fence may be one, later."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """No proof, and nothing was applied yet: look again later."""


Decision = Visible | ReadBack | WriteFence | LookAgain


def decide(
    target: Target, seen: Observation, *, fences: Container[str] = (), sentinel: Probe | None = None
) -> Decision:
    """Decide whether the write can be seen.

    :param target: what is known.
    :param seen: what one look has shown. Without ``read_back``, the answer may be :class:`ReadBack`: the
        probes are read only when the watermark alone is no proof.
    :param fences: mutations of ours that were sent after the target's answer had arrived.
    :param sentinel: a vector that is written after the target's answer had arrived, and by nobody else.
    """
    if seen.watermark is not None:
        if seen.watermark == target.mutation_id:
            return Visible(f"the index is processed up to mutation {target.mutation_id}")
        if seen.watermark in fences:
            return Visible(f"the index is processed up to the fence {seen.watermark}", by_fence=True)
    probes = target.probes if sentinel is None else (sentinel, *target.probes)
    if seen.read_back is None:
        if probes:
            return ReadBack(tuple(probe.id for probe in probes))
    else:
        for probe in probes:
            # An id that was not asked for is no evidence of a deletion.
            if probe.id in seen.read_back and seen.read_back[probe.id] == probe.digest:
                what = "is gone" if probe.digest is None else "reads back as it was sent"
                kind = "the sentinel" if probe is sentinel else "record"
                return Visible(f"{kind} {probe.id!r} {what}", by_fence=probe is sentinel)
    return LookAgain() if seen.watermark is None else WriteFence()


def observe(watermark: str | None, asked: Sequence[str], found: Sequence[Vector]) -> Observation:
    """Make an observation of a read-back.

    :param watermark: as *index info* gave it.
    :param asked: the ids that were asked for.
    :param found: what *get by ids* answered; ids that are missing there are not in the index.
    """
    read_back: dict[str, str | None] = dict.fromkeys(asked)
    read_back.update(
        (vector.id, digest(vector.values, vector.namespace, vector.metadata)) for vector in found
    )
    return Observation(watermark, read_back)


def digest(values: Any, namespace: str | None, metadata: Mapping[str, Any] | None) -> str:
    """Fingerprint of a vector as the service stores it: float32 values, namespace, metadata.

    :param values: numbers; they are compared as float32, and -0.0 equals 0.0.
    :param namespace: None and ``""`` are the same.
    :param metadata: compared as JSON; None and ``{}`` are the same, and so are ``1`` and ``1.0``.
    :returns: 32 hex digits.
    """
    numbers = np.asarray(values, dtype="<f4") + np.float32(0.0)
    rest = orjson.dumps([namespace or "", plain(metadata or {})], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(numbers.tobytes() + rest, digest_size=16).hexdigest()


def plain(value: Any) -> Any:
    """Write the numbers of a JSON value in one notation."""
    # Numbers come back from a JSON store in another notation: 1.0 as 1, 1e2 as 100.
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 1 << 1023 and float(value) == value else value
    if isinstance(value, np.generic):
        return plain(value.item())
    return value


def describe_timeout(
    index_name: str,
    pending: Sequence[Target],
    seconds: float,
    watermark: str | None,
    error: Exception | None,
    *,
    more: int = 0,
    sentinel: bool = False,
    refused: str | None = None,
) -> str:
    """Say what a wait that reached its deadline has seen last, and what would have helped.

    :param pending: what could not be seen.
    :param seconds: how long the wait was.
    :param watermark: as the last look showed it.
    :param error: what the last look failed with, if it failed.
    :param more: how many writes beside ``pending`` could not be seen.
    :param sentinel: whether the wait had one.
    :param refused: why the API has refused a fence, if it has.
    """
    ids = ", ".join(target.mutation_id for target in pending[:3])
    if others := more + max(0, len(pending) - 3):
        ids += f" and {others} more"
    text = f"index {index_name!r}: mutation {ids} could not be seen within {seconds:.0f} s. "
    text += f"The last look failed: {error}. " if error is not None else ""
    text += f"The index was last seen processed up to mutation {watermark or '(none yet)'}. "
    if refused is not None:
        text += f"No fence could be written to prove it by: {refused}. "
    elif not sentinel:
        text += "Where others write all the time, sentinel=True on the wait makes every write provable. "
    return text + "The write was accepted and may still become visible: look again, with a longer timeout."
