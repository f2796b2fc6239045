"""When writes become visible: modes, batches, watermarks, foreign writers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.emulator import Emulator, schedule
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.models import Vector
from airflow_provider_vectorize.emulator.schedule import Pending, Visibility
from airflow_provider_vectorize.emulator.settings import BATCH_VECTORS, BATCH_WRITES, Settings
from airflow_provider_vectorize.emulator.state import State
from airflow_provider_vectorize.emulator.validation import NewIndex
from tests.emulator.api import Api, vector


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def state_at(clock: Callable[[], float]) -> Iterator[State]:
    state = State(":memory:", Settings(), clock)
    state.create_index("a", NewIndex("docs", None, 32, "cosine"))
    yield state
    state.close()


def write(state: State, name: str = "v") -> str:
    return state.upsert(state.index("a", "docs"), [Vector(name, bytes(128), None, None)])


def watermark(state: State) -> str | None:
    return state.index("a", "docs").watermark


def test_immediate_shows_a_write_with_its_answer(docs: Api) -> None:
    for _ in range(3):
        mutation = docs.upsert("docs", vector("a"))
        assert docs.watermark("docs") == mutation


def test_manual_shows_nothing_until_told(emulator: Emulator, docs: Api) -> None:
    emulator.set_visibility("manual")
    first, last = docs.upsert("docs", vector("a")), docs.upsert("docs", vector("b"))
    assert docs.info("docs") == {"dimensions": 32, "vectorCount": 0}
    assert docs.get("docs", "a") == []
    assert docs.query("docs", vector=vector("")["values"]) == []
    assert docs.result("GET", "/docs/list")["totalCount"] == 0
    assert emulator.apply() == [{"index": "docs", "mutation_id": last, "writes": 2, "vectors": 2}]
    assert docs.watermark("docs") == last != first
    assert docs.info("docs")["vectorCount"] == 2
    assert emulator.apply() == []


def test_apply_can_be_told_for_one_index(emulator: Emulator, docs: Api) -> None:
    docs.create("other")
    emulator.set_visibility("manual")
    docs.upsert("docs", vector("a"))
    docs.upsert("other", vector("a"))
    assert [batch["index"] for batch in emulator.apply("other")] == ["other"]
    assert docs.watermark("docs") is None


def test_until_applied_an_upsert_shows_the_old_vector_and_a_delete_leaves_it(
    emulator: Emulator, docs: Api
) -> None:
    docs.upsert("docs", vector("a", 1.0), vector("b", 1.0))
    emulator.set_visibility("manual")
    docs.upsert("docs", vector("a", 2.0))
    docs.upsert("docs", vector("a", 3.0))
    docs.delete("docs", "b")
    assert [found["values"][0] for found in docs.get("docs", "a", "b")] == [1.0, 1.0]
    assert docs.info("docs")["vectorCount"] == 2
    emulator.apply()
    assert [found["values"][0] for found in docs.get("docs", "a", "b")] == [3.0]
    assert docs.info("docs")["vectorCount"] == 1


def test_a_metadata_index_is_listed_once_it_is_applied(emulator: Emulator, docs: Api) -> None:
    emulator.set_visibility("manual")
    docs.add_metadata_index("docs", "t")
    assert docs.result("GET", "/docs/metadata_index/list") == {"metadataIndexes": []}
    emulator.apply()
    assert len(docs.result("GET", "/docs/metadata_index/list")["metadataIndexes"]) == 1


def test_polls_shows_a_write_after_so_many_polls_in_vain(emulator: Emulator, docs: Api) -> None:
    emulator.set_visibility("polls", 2)
    for _ in range(2):
        before = docs.watermark("docs")
        mutation = docs.upsert("docs", vector("a"))
        assert [docs.watermark("docs") for _ in range(3)] == [before, before, mutation]


def test_changing_the_mode_holds_for_writes_that_wait(emulator: Emulator, docs: Api) -> None:
    emulator.set_visibility("manual")
    mutation = docs.upsert("docs", vector("a"))
    emulator.set_visibility("immediate")
    assert docs.watermark("docs") == mutation


def test_delay_shows_a_write_after_so_many_seconds(emulator: Emulator, docs: Api) -> None:
    emulator.set_visibility("delay", 0.3)
    mutation = docs.upsert("docs", vector("a"))
    assert docs.watermark("docs") is None
    time.sleep(0.35)
    assert docs.watermark("docs") == mutation


def test_delay_takes_together_what_waits_when_the_job_runs() -> None:
    clock = Clock()
    with state_at(clock) as state:
        state.set_visibility(Visibility("delay", 10))
        first = write(state, "a")
        clock.now += 9
        second = write(state, "b")
        clock.now += 0.9
        assert watermark(state) is None
        clock.now += 0.2
        assert watermark(state) == second != first
        assert state.index("a", "docs").applied_at == 1_010


def test_delay_takes_a_later_write_with_the_next_run() -> None:
    clock = Clock()
    with state_at(clock) as state:
        state.set_visibility(Visibility("delay", 10))
        first = write(state, "a")
        clock.now += 10.5
        second = write(state, "b")
        assert watermark(state) == first
        clock.now += 9.9
        assert watermark(state) == first
        clock.now += 0.2
        assert watermark(state) == second


def test_delay_takes_what_a_batch_left_over_after_the_same_time_again() -> None:
    clock = Clock()
    with state_at(clock) as state:
        state.set_visibility(Visibility("delay", 10))
        ids = [write(state, f"v{number}") for number in range(BATCH_WRITES + 1)]
        clock.now += 19.9
        assert watermark(state) == ids[-2]
        clock.now += 0.1
        assert watermark(state) == ids[-1]


def test_a_batch_takes_at_most_200000_vectors() -> None:
    pending = [Pending(seq, "", 5_000, 0, 0) for seq in range(41)]
    assert len(schedule.batch(pending, 0)) == 40


def test_a_batch_takes_at_most_1000_writes() -> None:
    with state_at(Clock()) as state:
        state.set_visibility(Visibility("manual"))
        ids = [write(state, f"v{number}") for number in range(BATCH_WRITES + 1)]
        assert state.apply()[0].mutation_id == ids[BATCH_WRITES - 1]
        assert watermark(state) == ids[BATCH_WRITES - 1]
        assert state.apply()[0].writes == 1


pendings = st.lists(st.tuples(st.integers(0, 5_000), st.floats(0, 100)), min_size=1, max_size=1_200)


@given(pendings, st.floats(0, 100))
def test_a_batch_is_the_longest_prefix_within_the_limits(writes: list[tuple[int, float]], now: float) -> None:
    pending = [Pending(seq, "", vectors, 0, at) for seq, (vectors, at) in enumerate(writes)]
    taken = schedule.batch(pending, now)
    assert list(taken) == pending[: len(taken)]

    def fits(count: int) -> bool:
        head = pending[:count]
        late = any(item.logged_at > now for item in head[1:])
        return count <= BATCH_WRITES and sum(item.vectors for item in head) <= BATCH_VECTORS and not late

    assert len(taken) == max((count for count in range(1, len(pending) + 1) if fits(count)), default=1)


def test_foreign_writers_move_the_watermark_past_ours(emulator: Emulator, docs: Api) -> None:
    emulator.set_visibility("manual")
    mutation = docs.upsert("docs", vector("a"))
    emulator.foreign("docs", writes=2, every=0)
    assert emulator.apply()[0]["writes"] == 3
    assert docs.watermark("docs") not in (None, mutation)
    assert docs.info("docs")["vectorCount"] == 3


def test_foreign_writers_write_every_so_many_seconds() -> None:
    clock = Clock()
    with state_at(clock) as state:
        state.add_foreign("docs", 3, 10)
        counts = []
        for _ in range(5):
            counts.append(state.index("a", "docs").count)
            clock.now += 10
        assert counts == [0, 1, 2, 3, 3]


def test_foreign_writes_and_the_job_happen_in_the_order_of_their_times() -> None:
    clock = Clock()
    with state_at(clock) as state:
        state.set_visibility(Visibility("delay", 10))
        mutation = write(state)
        state.add_foreign("docs", 1, 12)  # at 1012; the job of our write runs at 1010, that of theirs at 1022
        clock.now += 15
        assert watermark(state) == mutation
        clock.now += 10
        assert watermark(state) != mutation


def test_many_foreign_writes_at_once_hold_nobody_up_and_are_all_made(emulator: Emulator, docs: Api) -> None:
    emulator.foreign("docs", writes=20_000, every=0)
    longest, counts = 0.0, []
    for number in range(20):
        began = time.monotonic()
        mutation = docs.upsert("docs", vector(f"v{number}"))
        longest = max(longest, time.monotonic() - began)
        assert docs.watermark("docs")
        counts.append(docs.info("docs")["vectorCount"])
    assert mutation
    assert 0 < counts[0] < 20_000, "in pieces"
    assert longest < 3, f"a request took {longest:.1f} s"
    deadline = time.monotonic() + 120
    while docs.info("docs")["vectorCount"] < 20_020:
        assert time.monotonic() < deadline
    assert docs.info("docs")["vectorCount"] == 20_020


def test_foreign_writes_are_made_while_nobody_asks() -> None:
    with Emulator() as emulator:
        emulator.create_index("docs")
        emulator.foreign("docs", writes=2_000, every=0)
        deadline = time.monotonic() + 60
        while emulator._state._store.indexes()[0].count < 2_000:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_foreign_writes_into_a_full_index_are_refused_to_them_alone(
    docs: Api, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_vectorize.emulator.settings.MAX_INDEX_VECTORS", 1)
    docs.upsert("docs", vector("a"))
    emulator.foreign("docs", writes=3, every=0)
    assert docs.info("docs")["vectorCount"] == 1
    docs.upsert("docs", vector("a", 0.5))


def test_a_refused_write_loses_no_foreign_write(emulator: Emulator, docs: Api) -> None:
    docs.add_metadata_index("docs", "t")
    emulator.foreign("docs", writes=1, every=0)
    body = {"propertyName": "t", "indexType": "string"}
    assert docs.refused("POST", "/docs/metadata_index/create", json=body)[0] == 400
    assert docs.info("docs")["vectorCount"] == 1


def test_indexes_do_not_wait_for_each_other(emulator: Emulator, docs: Api) -> None:
    docs.create("other")
    emulator.set_visibility("polls", 1)
    docs.upsert("docs", vector("a"))
    other = docs.upsert("other", vector("a"))
    assert [docs.watermark("other") for _ in range(2)] == [None, other]
    assert docs.watermark("docs") is None


def test_an_upload_checked_against_an_index_that_was_replaced_is_refused() -> None:
    with state_at(Clock()) as state:
        checked = state.index("a", "docs")
        state.delete_index("a", "docs")
        state.create_index("a", NewIndex("docs", None, 64, "cosine"))
        with pytest.raises(ApiError, match="was deleted"):
            state.upsert(checked, [Vector("v", bytes(128), None, None)])


def test_replaced_and_deleted_vectors_do_not_fill_the_file(emulator: Emulator, docs: Api) -> None:
    for round_ in range(4):
        docs.upsert("docs", *(vector(f"v{number}", float(round_)) for number in range(50)))
    docs.delete("docs", *(f"v{number}" for number in range(50)))
    docs.upsert("docs", vector("last"))
    rows = emulator._state._store._db.execute("SELECT count(*) FROM vectors").fetchone()[0]
    assert rows == 1


@pytest.mark.parametrize(
    "order",
    [
        {}, {"mode": "never"}, {"mode": "delay", "value": -1}, {"mode": "delay", "value": "1"},
        {"mode": "delay", "value": True}, {"mode": ["delay"]}, {"mode": "manual", "more": 1},
    ],
)  # fmt: skip
def test_a_bad_visibility_is_refused(emulator: Emulator, order: dict[str, Any]) -> None:
    response = requests.put(f"{emulator.url}/_emulator/visibility", json=order, timeout=10)
    assert response.status_code == 400


def test_visibility_and_apply_over_http(emulator: Emulator, docs: Api) -> None:
    control = f"{emulator.url}/_emulator"
    answer = requests.put(f"{control}/visibility", json={"mode": "manual", "value": 0}, timeout=10)
    assert answer.json() == {"mode": "manual", "value": 0}
    docs.upsert("docs", vector("a"))
    answer = requests.post(f"{control}/indexes/docs/foreign", json={"writes": 1, "every": 0}, timeout=10)
    assert answer.json() == {"indexes": 1}
    assert requests.post(f"{control}/apply", timeout=10).json()[0]["writes"] == 2
    assert requests.post(f"{control}/apply", json={"index": "docs"}, timeout=10).json() == []
    assert requests.post(f"{control}/apply", json=[], timeout=10).status_code == 400


@pytest.mark.parametrize(
    "order", [{"writes": 0}, {"writes": 1.5}, {"every": -1}, {"every": "1"}, {"more": 1}, []]
)
def test_a_bad_order_of_foreign_writes_is_refused(emulator: Emulator, docs: Api, order: Any) -> None:
    url = f"{emulator.url}/_emulator/indexes/docs/foreign"
    assert requests.post(url, json=order, timeout=10).status_code == 400
    assert requests.post(url.replace("docs", "nobody"), json={"writes": 1}, timeout=10).status_code == 404
