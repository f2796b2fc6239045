"""When a write can be seen: a pure function from what is known and what was just seen to what to do next.

The API shows only the **last** mutation of each batch that it applied (the watermark), two mutation ids
cannot be ordered, and others may write to the same index. So waiting for the watermark to equal the mutation
can wait for ever, and taking any change of it for the answer ends early. These are the proofs, and there are
no others:

1. The watermark is the mutation, or a mutation of ours whose request was **sent after the mutation's answer
   had arrived** (``Target.later``): writes are applied in the order in which they were logged.
2. A **probe** reads back as it was sent: a record of that write which was known to differ before it.

What cannot be told apart: another write, not yet visible, of the very same vector. And one thing is taken for
granted: a read may lag behind what was applied, but shows nothing older than an earlier read of the same id did.

:func:`decide` has no clock and does no I/O. The loops around it (poke, trigger,
``hook.wait_for_mutation``) do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
    :param later: mutations of ours that were sent after the mutation's answer had arrived.
    :param probes: at most :data:`MAX_PROBES` records that tell this write from the state before it, and the
        sentinel, if there is one.
    :param sentinel: id of a vector that was written only to recognise the write by; who has seen it deletes it.
    """

    mutation_id: str
    later: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    sentinel: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON: for XCom, and for the arguments of the trigger."""
        return {
            "mutation_id": self.mutation_id,
            "later": list(self.later),
            "probes": [[probe.id, probe.digest] for probe in self.probes],
            "sentinel": self.sentinel,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote; unknown keys are ignored."""
        return cls(
            mutation_id=str(data["mutation_id"]),
            later=tuple(map(str, data.get("later") or ())),
            probes=tuple(Probe(str(id_), digest) for id_, digest in data.get("probes") or ()),
            sentinel=data.get("sentinel"),
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
    """

    evidence: str


@dataclass(frozen=True, slots=True)
class ReadBack:
    """The watermark proves nothing: read these ids, then decide again."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """No proof: look again later."""


Decision = Visible | ReadBack | Wait


def decide(target: Target, seen: Observation) -> Decision:
    """Decide whether the write can be seen.

    :param target: what is known.
    :param seen: what one look has shown. Without ``read_back``, the answer may be :class:`ReadBack`: the
        probes are read only when the watermark alone is no proof.
    """
    if seen.watermark is not None:
        if seen.watermark == target.mutation_id:
            return Visible(f"the index is processed up to mutation {target.mutation_id}")
        if seen.watermark in target.later:
            return Visible(
                f"the index is processed up to our mutation {seen.watermark}, which was sent after "
                f"{target.mutation_id} was accepted"
            )
    if seen.read_back is None:
        return ReadBack(tuple(probe.id for probe in target.probes)) if target.probes else Wait()
    for probe in target.probes:
        # An id that was not asked for is no evidence of a deletion.
        if probe.id in seen.read_back and seen.read_back[probe.id] == probe.digest:
            what = "is gone" if probe.digest is None else "reads back as it was sent"
            return Visible(f"record {probe.id!r} {what}")
    return Wait()


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
    index_name: str, pending: Sequence[Target], seconds: float, watermark: str | None, error: Exception | None
) -> str:
    """Say what a wait that reached its deadline has seen last, and what would have helped.

    :param index_name: the index.
    :param pending: what could not be seen.
    :param seconds: how long the wait was.
    :param watermark: as the last look showed it.
    :param error: what the last look failed with, if it failed.
    """
    ids = ", ".join(target.mutation_id for target in pending[:3])
    if len(pending) > 3:
        ids += f" and {len(pending) - 3} more"
    text = f"index {index_name!r}: mutation {ids} could not be seen within {seconds:.0f} s. "
    text += f"The last look failed: {error}. " if error is not None else ""
    text += f"The index was last seen processed up to mutation {watermark or '(none yet)'}. "
    text += _hint(pending)
    return text + "The write was accepted and may still become visible: look again, with a longer timeout."


def _hint(pending: Sequence[Target]) -> str:
    unmarked = [target for target in pending if target.sentinel is None]
    reasons = []
    if any(not target.probes for target in unmarked):
        reasons.append("no record of it was known to differ from what the index held before")
    if any(target.probes for target in unmarked):
        reasons.append("the records that it is known by may have been written again since, by a later load")
    text = ""
    if reasons:
        text += (
            f"Where others write to the index too, it may never be provable: {'; or '.join(reasons)}. sentinel=True on "
            "the upload makes every write provable. "
        )
    if len(unmarked) < len(pending):
        text += "A sentinel serves one wait: another wait may have seen and deleted it; then run the upload again. "
    return text
