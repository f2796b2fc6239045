"""The proofs of visibility: each one by itself, and all of them against a model of the service.

The model coalesces at random, has foreign writers, logs requests that are in flight together in any order, loses
polls, and reads back behind what it has applied (any number of batches, but never behind an earlier read).
Strategies that other clients use are kept here as deliberately wrong ones: the same test must catch them, or it would
prove nothing.

Named and excluded, since nobody can tell it apart: a foreign write, not yet visible, of the very same vector (or a
foreign delete of an id that we delete).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.client.types import Vector
from airflow_provider_vectorize.visibility import (
    Observation,
    Probe,
    ReadBack,
    Target,
    Visible,
    Wait,
    decide,
    describe_timeout,
    digest,
    observe,
)

TARGET = Target("fence", later=("later",), probes=(Probe("a", "A"), Probe("b", None)))


class TestDecide:
    def test_the_mutation_itself_as_watermark_is_a_proof(self):
        assert isinstance(decide(TARGET, Observation("fence")), Visible)

    def test_an_own_mutation_sent_after_the_answer_is_a_proof(self):
        decision = decide(TARGET, Observation("later"))
        assert isinstance(decision, Visible)
        assert "later" in decision.evidence

    @pytest.mark.parametrize("watermark", [None, "foreign"])
    def test_any_other_watermark_asks_for_the_probes(self, watermark):
        assert decide(TARGET, Observation(watermark)) == ReadBack(("a", "b"))

    @pytest.mark.parametrize("watermark", [None, "foreign"])
    def test_without_probes_any_other_watermark_means_wait(self, watermark):
        assert decide(Target("fence"), Observation(watermark)) == Wait()

    @pytest.mark.parametrize(
        "read_back", [{"a": "A", "b": "x"}, {"a": "x", "b": None}, {"a": "A"}, {"b": None}]
    )
    def test_one_probe_that_reads_back_as_sent_is_a_proof(self, read_back):
        assert isinstance(decide(TARGET, Observation("foreign", read_back)), Visible)

    @pytest.mark.parametrize("read_back", [{}, {"a": None}, {"a": "x", "b": "B"}, {"other": "A"}])
    def test_a_probe_that_reads_otherwise_or_was_not_asked_for_is_none(self, read_back):
        assert decide(TARGET, Observation("foreign", read_back)) == Wait()


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
    target = Target("m", ("l",), (Probe("a", "d"), Probe("b", None)), "s")
    assert Target.from_dict({**target.to_dict(), "unknown": 1}) == target


class TestDescribeTimeout:
    def test_it_says_what_was_last_seen_and_what_would_have_helped(self):
        text = describe_timeout("docs", [Target("m1")], 600, "w1", None)
        for part in ("'docs'", "m1", "600 s", "w1", "sentinel=True"):
            assert part in text

    def test_without_probes_it_says_that_none_was_known_to_differ(self):
        text = describe_timeout("docs", [Target("m1")], 600, None, None)
        assert "no record of it was known to differ" in text
        assert "written again" not in text

    def test_with_probes_it_says_that_they_may_have_been_written_again_since(self):
        text = describe_timeout("docs", [TARGET], 600, None, None)
        assert "may have been written again since" in text
        assert "known to differ" not in text
        assert "sentinel=True" in text

    def test_of_both_kinds_it_says_both(self):
        text = describe_timeout("docs", [TARGET, Target("m1")], 600, None, None)
        assert "may have been written again since" in text
        assert "known to differ" in text

    def test_with_a_sentinel_it_says_that_another_wait_may_have_deleted_it(self):
        text = describe_timeout("docs", [Target("m", (), (Probe("s", "S"),), "s")], 600, None, None)
        assert "another wait may have seen and deleted" in text
        assert "sentinel=True" not in text

    def test_it_names_the_error_of_the_last_look(self):
        assert "HTTP 503" in describe_timeout("docs", [TARGET], 600, None, RuntimeError("HTTP 503"))

    def test_many_mutations_are_counted(self):
        assert "and 7 more" in describe_timeout("docs", [Target(str(n)) for n in range(10)], 600, None, None)


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
    visible: bool
    lost: bool


@dataclass
class History:
    target: Target
    own: list[str]  # our mutations, in the order of their chunks
    start: str | None  # the watermark when the wait began
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
    after_answer: dict[int, set[int]] = {}  # chunk -> chunks whose request was sent after its answer
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
            for earlier_chunk in answered:
                after_answer[earlier_chunk].add(following)
            sent.append(following)
        elif step == "log":
            chunk = chance.choice([chunk for chunk in sent if chunk not in logged])
            service.write(f"own-{chunk}", operation, chunks[chunk])
            logged.append(chunk)
        else:
            chunk = chance.choice([chunk for chunk in logged if chunk not in answered])
            answered.append(chunk)
            after_answer[chunk] = set()

    wanted = last if chance.random() < 0.7 else chance.randint(0, last)
    later = tuple(f"own-{chunk}" for chunk in sorted(after_answer[wanted]))
    target = Target(f"own-{wanted}", later, probes if wanted == last else ())
    start = service.watermark
    polls = []
    for _ in range(chance.randint(5, 25)):
        for _ in range(chance.randint(0, 3)):
            chance.choice([foreign, service.apply])()
        read_back = service.read(probe.id for probe in target.probes)
        visible = service.is_applied(target.mutation_id)
        polls.append(Poll(Observation(service.watermark, read_back), visible, lost=chance.random() < 0.2))
    return History(target, [f"own-{chunk}" for chunk in range(len(chunks))], start, polls)


Strategy = Callable[[History, Observation], bool]


def ours(history: History, seen: Observation) -> bool:
    decision = decide(history.target, Observation(seen.watermark))
    if isinstance(decision, ReadBack):
        decision = decide(history.target, seen)
    return isinstance(decision, Visible)


def oracle(history: History, seen: Observation) -> bool:
    if seen.watermark in (history.target.mutation_id, *history.target.later):
        return True
    return any(seen.read_back[probe.id] == probe.digest for probe in history.target.probes)


def equality_only(history: History, seen: Observation) -> bool:
    return seen.watermark == history.target.mutation_id


def any_change(history: History, seen: Observation) -> bool:
    return seen.watermark != history.start


def later_in_my_list(history: History, seen: Observation) -> bool:
    at = history.own.index(history.target.mutation_id)
    return seen.watermark in history.own[at:]


def verdict(strategy: Strategy, history: History) -> str:
    """``early``, ``late`` or ``good``."""
    proofs = 0
    for poll in history.polls:
        if poll.lost:
            continue
        if strategy(history, poll.seen):
            return "good" if poll.visible else "early"
        proofs += oracle(history, poll.seen)
        if proofs >= 2:
            return "late"
    return "good"


@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_the_wait_never_ends_early_and_ends_within_two_polls_of_a_proof(chance):
    assert verdict(ours, simulate(chance)) == "good"


@pytest.mark.parametrize(
    ("strategy", "fails"), [(equality_only, "late"), (any_change, "early"), (later_in_my_list, "early")]
)
def test_the_same_test_catches_what_other_clients_do(strategy, fails):
    assert fails in {verdict(strategy, simulate(random.Random(seed))) for seed in range(2_000)}


def test_the_model_reaches_every_kind_of_proof():
    evidence = set()
    for seed in range(2_000):
        history = simulate(random.Random(seed))
        for poll in history.polls:
            decision = decide(history.target, poll.seen)
            if isinstance(decision, Visible):
                evidence.add(decision.evidence.split("own-")[0].split("'")[0])
                break
    assert len(evidence) == 3, evidence
