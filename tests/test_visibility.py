"""The proofs of visibility: each one by itself, and all of them against a model of the service.

The model coalesces at random, has foreign writers, logs requests that are in flight together in any order, loses
polls, and reads back behind what it has applied (any number of batches, but never behind an earlier read). Whoever
waits writes fences, and a sentinel.
Strategies that other clients use are kept here as deliberately wrong ones: the same test must catch them, or it would
prove nothing.

Named and excluded, since nobody can tell it apart: a foreign write, not yet visible, of the very same vector (or a
foreign delete of an id that we delete).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.client.types import IndexInfo, Mutation, Vector
from airflow_provider_vectorize.visibility import (
    Decision,
    LookAgain,
    Observation,
    Probe,
    ReadBack,
    Target,
    Visible,
    WriteFence,
    decide,
    describe_timeout,
    digest,
    observe,
)
from airflow_provider_vectorize.waiting import Sentinel, Wait

TARGET = Target("target", probes=(Probe("a", "A"), Probe("b", None)))
SENTINEL = Probe("airflow-fence-1", "S")


class TestDecide:
    def test_the_mutation_itself_as_watermark_is_a_proof(self):
        assert decide(TARGET, Observation("target")) == Visible(
            "the index is processed up to mutation target"
        )

    def test_a_fence_as_watermark_proves_all_that_was_accepted_before_it(self):
        decision = decide(TARGET, Observation("f2"), fences=("f1", "f2"))
        assert decision == Visible("the index is processed up to the fence f2", by_fence=True)

    def test_the_sentinel_proves_all_that_was_accepted_before_it(self):
        decision = decide(TARGET, Observation("foreign", {SENTINEL.id: "S"}), sentinel=SENTINEL)
        assert isinstance(decision, Visible)
        assert decision.by_fence
        assert "the sentinel" in decision.evidence

    @pytest.mark.parametrize("read_back", [{}, {SENTINEL.id: None}, {SENTINEL.id: "an older one"}])
    def test_a_sentinel_that_reads_otherwise_is_none(self, read_back):
        assert decide(TARGET, Observation("foreign", read_back), sentinel=SENTINEL) == WriteFence()

    @pytest.mark.parametrize("watermark", [None, "foreign"])
    def test_any_other_watermark_asks_for_the_probes(self, watermark):
        assert decide(TARGET, Observation(watermark)) == ReadBack(("a", "b"))
        assert decide(TARGET, Observation(watermark), sentinel=SENTINEL) == ReadBack((SENTINEL.id, "a", "b"))

    def test_a_foreign_watermark_and_no_proof_ask_for_a_fence(self):
        assert decide(Target("target"), Observation("foreign"), fences=("f1",)) == WriteFence()

    def test_as_long_as_nothing_was_applied_a_fence_would_prove_nothing_more(self):
        assert decide(Target("target"), Observation(None)) == LookAgain()

    @pytest.mark.parametrize(
        "read_back", [{"a": "A", "b": "x"}, {"a": "x", "b": None}, {"a": "A"}, {"b": None}]
    )
    def test_one_probe_that_reads_back_as_sent_is_a_proof_of_that_write_alone(self, read_back):
        decision = decide(TARGET, Observation("foreign", read_back))
        assert isinstance(decision, Visible)
        assert not decision.by_fence

    @pytest.mark.parametrize("read_back", [{}, {"a": None}, {"a": "x", "b": "B"}, {"other": "A"}])
    def test_a_probe_that_reads_otherwise_or_was_not_asked_for_is_none(self, read_back):
        assert decide(TARGET, Observation("foreign", read_back)) == WriteFence()


class TestDigest:
    def test_values_are_compared_as_float32(self):
        assert digest([67.1], None, None) == digest([67.0999984741211], None, None)

    def test_another_float32_is_another_digest(self):
        assert digest([67.1], None, None) != digest([67.10001], None, None)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (([0.0], None, None), ([-0.0], "", {})),
            (([1], None, {"a": 1}), ((1.0,), None, {"a": 1.0})),
            (([1], None, {"a": 1, "b": ["x"]}), ([1], None, {"b": ("x",), "a": 1})),
            (([1], None, {"a": {"b": 2}}), ([1], None, {"a": {"b": 2.0}})),
        ],
    )
    def test_what_a_json_store_may_write_otherwise_is_the_same(self, one, other):
        assert digest(*one) == digest(*other)

    @pytest.mark.parametrize(
        "other", [([2], "n", {"a": 1}), ([1], "m", {"a": 1}), ([1], "n", {"a": True}), ([1], "n", {"a": "1"})]
    )
    def test_values_namespace_and_metadata_all_count(self, other):
        assert digest([1], "n", {"a": 1}) != digest(*other)


def test_ids_that_were_not_found_are_observed_as_absent():
    seen = observe("m", ["a", "b"], [Vector("a", (1.0,))])
    assert seen == Observation("m", {"a": digest([1.0], None, None), "b": None})


def test_a_target_survives_json():
    target = Target("m", (Probe("a", "d"), Probe("b", None)))
    assert Target.from_dict({**target.to_dict(), "unknown": 1}) == target


class TestDescribeTimeout:
    def test_it_says_what_was_last_seen_and_what_would_have_helped(self):
        text = describe_timeout("docs", [Target("m1")], 600, "w1", None)
        for part in ("'docs'", "m1", "600 s", "w1", "sentinel=True"):
            assert part in text

    def test_with_a_sentinel_it_does_not_ask_for_one(self):
        assert "sentinel=True" not in describe_timeout("docs", [TARGET], 600, None, None, sentinel=True)

    def test_it_says_why_no_fence_could_be_written(self):
        text = describe_timeout("docs", [TARGET], 600, None, None, refused="HTTP 403, may only read")
        assert "No fence could be written to prove it by: HTTP 403, may only read" in text

    def test_it_names_the_error_of_the_last_look(self):
        assert "HTTP 503" in describe_timeout("docs", [TARGET], 600, None, RuntimeError("HTTP 503"))

    def test_many_mutations_are_counted(self):
        targets = [Target(str(n)) for n in range(10)]
        assert "and 7 more" in describe_timeout("docs", targets, 600, None, None)
        assert "and 97 more" in describe_timeout("docs", targets, 600, None, None, more=90)


# The model


@dataclass
class Service:
    """Log of writes, applied in order, in batches; the watermark is the last write of the last batch."""

    chance: random.Random
    vectors: dict[str, str] = field(default_factory=dict)
    versions: list[dict[str, str]] = field(default_factory=list)  # the vectors after each batch
    read_version: int = 0  # reads lag, but never go back behind an earlier one
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    applied: int = 0
    watermark: str | None = None

    def write(self, mutation: str, operation: str, records: dict[str, str]) -> None:
        self.log.append((mutation, operation, records))

    def apply(self) -> None:
        if self.applied == len(self.log):
            return
        size = self.chance.randint(1, len(self.log) - self.applied)
        for mutation, operation, records in self.log[self.applied : self.applied + size]:
            for id_, value in records.items():
                if operation == "delete":
                    self.vectors.pop(id_, None)
                elif operation == "upsert" or id_ not in self.vectors:
                    self.vectors[id_] = value
            self.watermark = mutation
        self.applied += size
        self.versions.append(dict(self.vectors))

    def read(self, ids: Any) -> dict[str, str | None]:
        if self.chance.random() < 0.7:
            self.read_version = self.chance.randint(self.read_version, len(self.versions) - 1)
        return {id_: self.versions[self.read_version].get(id_) for id_ in ids}

    def is_applied(self, mutation: str) -> bool:
        return mutation in [entry[0] for entry in self.log[: self.applied]]


@dataclass
class Poll:
    """What a poll would see, and the truth at that moment."""

    seen: Observation
    fences: frozenset[str]  # ours, sent after the target's answer
    visible: bool
    lost: bool


@dataclass
class History:
    target: Target
    own: list[str]  # our mutations, in the order of their chunks
    start: str | None  # the watermark when the wait began
    sentinel: Probe | None
    too_early: list[str]  # fences that were sent before the target's answer
    polls: list[Poll]


def simulate(chance: random.Random) -> History:
    ids = [f"v{n}" for n in range(chance.randint(2, 8))]
    service = Service(chance)
    operation = chance.choice(["upsert", "upsert", "insert", "delete"])
    for id_ in ids:
        if chance.random() < 0.6:
            # A reload of unchanged vectors finds what it writes.
            service.vectors[id_] = chance.choice([f"own-{id_}", f"old-{id_}"])
    service.versions.append(dict(service.vectors))

    def foreign() -> None:
        id_ = chance.choice([*ids, "theirs"])
        kind = "upsert" if operation == "delete" else chance.choice(["upsert", "delete"])
        service.write(f"foreign-{len(service.log)}", kind, {id_: f"foreign-{len(service.log)}"})

    chunks = [
        {id_: f"own-{id_}" for id_ in chance.sample(ids, chance.randint(1, len(ids)))}
        for _ in range(chance.randint(1, 5))
    ]
    window = chance.randint(1, 4)
    last = len(chunks) - 1
    sent: list[int] = []
    logged: list[int] = []
    answered: list[int] = []
    too_early: list[str] = []

    def fence(sentinel: Probe | None = None) -> str:
        mutation = f"fence-{len(service.log)}"
        operation, records = ("delete", {"airflow-fence": ""}) if sentinel is None else ("upsert", {"s": "S"})
        service.write(mutation, operation, records)
        return mutation

    probes: tuple[Probe, ...] = ()
    while len(answered) < len(chunks):
        following = len(sent)
        may_send = following <= last and len(sent) - len(answered) < window
        if following == last:
            may_send = may_send and len(answered) == last
        steps: list[str] = ["foreign", "apply"]
        steps += ["send"] * 3 * may_send + ["log"] * 3 * (len(logged) < len(sent))
        steps += ["answer"] * 3 * (len(answered) < len(logged))
        step = chance.choice(steps)
        if step == "foreign":
            foreign()
            if chance.random() < 0.2:
                too_early.append(fence())
        elif step == "apply":
            service.apply()
        elif step == "send":
            if following == last:
                earlier = {id_ for chunk in chunks[:last] for id_ in chunk}
                there = service.read(id_ for id_ in chunks[last] if id_ not in earlier)
                probes = tuple(
                    Probe(id_, None if operation == "delete" else chunks[last][id_])
                    for id_, value in there.items()
                    if (value is not None if operation == "delete" else value != chunks[last][id_])
                    and not (operation == "insert" and value is not None)
                )[:3]
            sent.append(following)
        elif step == "log":
            chunk = chance.choice([chunk for chunk in sent if chunk not in logged])
            service.write(f"own-{chunk}", operation, chunks[chunk])
            logged.append(chunk)
        else:
            chunk = chance.choice([chunk for chunk in logged if chunk not in answered])
            answered.append(chunk)

    wanted = last if chance.random() < 0.7 else chance.randint(0, last)
    target = Target(f"own-{wanted}", probes if wanted == last else ())
    sentinel = Probe("s", "S") if chance.random() < 0.3 else None
    start = service.watermark
    polls = []
    fences: list[str] = []
    for _ in range(chance.randint(5, 25)):
        for _ in range(chance.randint(0, 3)):
            chance.choice([foreign, service.apply])()
        read_back = service.read([probe.id for probe in target.probes] + ["s"])
        visible = service.is_applied(target.mutation_id)
        seen = Observation(service.watermark, read_back)
        polls.append(Poll(seen, frozenset(fences), visible, lost=chance.random() < 0.2))
        if chance.random() < 1 / 3:
            fences.append(fence(sentinel))
    own = [f"own-{chunk}" for chunk in range(len(chunks))]
    return History(target, own, start, sentinel, too_early, polls)


Strategy = Callable[[History, Poll], bool]


def proof(history: History, poll: Poll) -> Decision:
    known = {"fences": poll.fences, "sentinel": history.sentinel}
    decision = decide(history.target, Observation(poll.seen.watermark), **known)
    return decide(history.target, poll.seen, **known) if isinstance(decision, ReadBack) else decision


def ours(history: History, poll: Poll) -> bool:
    return isinstance(proof(history, poll), Visible)


def oracle(history: History, poll: Poll) -> bool:
    if poll.seen.watermark in (history.target.mutation_id, *poll.fences):
        return True
    probes = [*history.target.probes, *filter(None, [history.sentinel])]
    return any(poll.seen.read_back[probe.id] == probe.digest for probe in probes)


def equality_only(history: History, poll: Poll) -> bool:
    return poll.seen.watermark == history.target.mutation_id


def any_change(history: History, poll: Poll) -> bool:
    return poll.seen.watermark != history.start


def later_in_my_list(history: History, poll: Poll) -> bool:
    at = history.own.index(history.target.mutation_id)
    return poll.seen.watermark in history.own[at:]


def any_fence_of_mine(history: History, poll: Poll) -> bool:
    return poll.seen.watermark in (*history.too_early, *poll.fences)


def verdict(strategy: Strategy, history: History) -> str:
    """``early``, ``late`` or ``good``."""
    proofs = 0
    for poll in history.polls:
        if poll.lost:
            continue
        if strategy(history, poll):
            return "good" if poll.visible else "early"
        proofs += oracle(history, poll)
        if proofs >= 2:
            return "late"
    return "good"


@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_the_wait_never_ends_early_and_ends_within_two_polls_of_a_proof(chance):
    assert verdict(ours, simulate(chance)) == "good"


@pytest.mark.parametrize(
    ("strategy", "fails"),
    [
        (equality_only, "late"),
        (any_change, "early"),
        (later_in_my_list, "early"),
        (any_fence_of_mine, "early"),
    ],
)
def test_the_same_test_catches_what_other_clients_do(strategy, fails):
    assert any(verdict(strategy, simulate(random.Random(seed))) == fails for seed in range(2_000))


def test_the_model_reaches_every_kind_of_proof():
    evidence = set()
    for seed in range(2_000):
        history = simulate(random.Random(seed))
        for poll in history.polls:
            if isinstance(decision := proof(history, poll), Visible):
                evidence.add(decision.evidence.split("own-")[0].split("fence-")[0].split("'")[0])
                break
        if len(evidence) == 4:
            return
    pytest.fail(str(evidence))


class Client:
    """What a wait needs of the client, on the model."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def index_info(self, index_name: str) -> IndexInfo:
        return IndexInfo(32, 0, self.service.watermark, None)

    def get_by_ids(self, index_name: str, ids: list[str]) -> list[Any]:
        return [each for each in self.service.read(ids).values() if each is not None]

    def delete_by_ids(self, index_name: str, ids: list[str]) -> list[Mutation]:
        return [self._write("delete", dict.fromkeys(ids))]

    def upsert(self, index_name: str, body: bytes) -> Mutation:
        record = json.loads(body)
        return self._write("upsert", {record["id"]: Vector.from_result(record)})

    def _write(self, operation: str, records: dict[str, Any]) -> Mutation:
        mutation = f"fence-{len(self.service.log)}"
        self.service.write(mutation, operation, records)
        return Mutation(mutation)


@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_among_siblings_a_wait_ends_within_two_polls_after_everything_is_applied_and_never_early(chance):
    service = Service(chance, versions=[{}])
    targets = [Target(f"own-{n}") for n in range(chance.randint(1, 8))]  # unchanged vectors: no probes
    for target in chance.sample(targets, len(targets)):
        service.write(target.mutation_id, "upsert", {target.mutation_id: None})
        if chance.random() < 0.3:
            service.apply()
    wait = Wait("docs", targets, sentinel=Sentinel.of("ti", targets) if chance.random() < 0.3 else None)
    client = Client(service)
    complete = 0
    while complete < 2:
        for _ in range(chance.randint(0, 2)):
            service.apply()
        complete += service.applied == len(service.log)
        if wait.look(client):
            assert all(service.is_applied(target.mutation_id) for target in targets)
            return
    pytest.fail("not seen two polls after everything was applied")


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_beside_another_writer_it_does_not_end_early_either(chance):
    service = Service(chance, versions=[{}])
    targets = [Target(f"own-{n}") for n in range(chance.randint(1, 8))]
    for target in targets:
        service.write(target.mutation_id, "upsert", {target.mutation_id: None})
    wait = Wait("docs", targets, sentinel=Sentinel.of("ti", targets) if chance.random() < 0.5 else None)
    client = Client(service)
    for n in range(40):
        for _ in range(chance.randint(0, 2)):
            chance.choice([service.apply, lambda n=n: service.write(f"foreign-{n}", "delete", {})])()
        if wait.look(client):
            assert all(service.is_applied(target.mutation_id) for target in targets)
            return
