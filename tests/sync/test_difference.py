"""The difference, without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import InvalidArgumentError, SyncGuardError
from airflow_provider_vectorize.ingest.records import FlawError
from airflow_provider_vectorize.sync.difference import Change, compare, gone, guard
from airflow_provider_vectorize.sync.known import Bits, Known
from airflow_provider_vectorize.sync.marks import marker, record_mark
from airflow_provider_vectorize.sync.options import SyncOptions

marks = st.binary(min_size=16, max_size=16)


@given(st.none() | st.just(b"") | marks, marks)
def test_only_what_is_known_to_be_the_same_is_unchanged(known, mark):
    change = compare(known, mark)
    assert (change is Change.UNCHANGED) == (known == mark)
    assert (change is Change.ADDED) == (known is None)


@given(st.lists(st.integers(0, 5_000)))
def test_bits_are_a_set_of_numbers(numbers):
    bits, model = Bits(), set()
    for number in numbers:
        assert bits.add(number) == (number not in model)
        model.add(number)
    assert len(bits) == len(model)
    assert [number for number in range(5_001) if number in bits] == sorted(model)


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)


@given(st.lists(st.tuples(names, st.none() | st.just(b"") | marks)), st.sets(names))
def test_gone_is_what_is_managed_and_not_seen(rows, seen):
    model = {name: state for name, state in dict(rows).items() if state is not None}
    with Known() as known:
        known.apply(rows)
        for name in seen:
            state, number = known.get(name)
            assert state == model.get(name)
            if state is not None:
                known.seen.add(number)
        assert {name: state for name, state, _ in known.rows()} == model
        assert len(known) == len(model)
        assert list(gone(known.rows(), known.seen)) == sorted(model.keys() - seen, key=str.encode)


def test_rows_that_change_while_they_are_read():
    with Known() as known:
        known.apply((f"{number:06}", bytes(16)) for number in range(25_000))
        read = []
        for name, _, _ in known.rows():
            read.append(name)
            if len(read) % 5_000 == 0:
                known.apply([(name, None) for name in read[-5_000:]])
        assert read == [f"{number:06}" for number in range(25_000)]
        assert len(known) == 0


GOOD = {"managed": 100, "records": 90, "going": 10, "first": ["a", "b"], "nameless": 0}
LIMITS = {"min_records": 1, "max_delete_fraction": 0.2}


def test_the_guard_lets_an_ordinary_day_pass():
    guard(**GOOD, **LIMITS)
    guard(**GOOD | {"going": 20}, **LIMITS)
    guard(managed=0, records=5, going=0, first=[], nameless=3, **LIMITS)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ({"going": 21, "first": ["old-1"]}, r"'old-1'.*max_delete_fraction=0\.22"),
        ({"records": 0, "min_records": 1}, r"min_records=0"),
        ({"records": 4, "min_records": 5}, r"has 4 records, and min_records is 5"),
        ({"nameless": 2}, r"2 records whose id cannot be read"),
    ],
)
def test_the_guard_names_the_ids_and_what_to_set(case, says):
    with pytest.raises(SyncGuardError, match=says):
        guard(**GOOD | LIMITS | case)


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.floats(0, 1))
def test_what_the_guard_advises_is_enough(managed, going, fraction):
    going = min(going, managed)
    order = GOOD | {"managed": managed, "going": going, "min_records": 1}
    try:
        guard(**order, max_delete_fraction=fraction)
    except SyncGuardError as error:
        advised = float(str(error).rpartition("max_delete_fraction=")[2])
        guard(**order, max_delete_fraction=advised)


RECORD = {"id": "a", "values": [0.1, 2.0], "namespace": "n", "metadata": {"k": 1, "deep": {"hash": "x"}}}


def test_a_record_is_told_by_float32_values_namespace_and_metadata():
    same = {**RECORD, "values": [0.10000000149011612, 2], "metadata": {"deep": {"hash": "x"}, "k": 1.0}}
    assert record_mark(RECORD) == record_mark(same)
    for change in (
        {"values": [0.1, 2.0000002]},
        {"namespace": "m"},
        {"metadata": {"k": 2, "deep": {"hash": "x"}}},
        {"metadata": {"k": True, "deep": {"hash": "x"}}},
        {"metadata": {"k": "1", "deep": {"hash": "x"}}},
        {"metadata": None},
    ):
        assert record_mark(RECORD) != record_mark(RECORD | change), change
    big = 2**53
    assert record_mark(RECORD | {"metadata": {"k": big}}) != record_mark(
        RECORD | {"metadata": {"k": big + 1}}
    )


def test_by_a_field_only_that_field_counts():
    mark = marker("metadata.deep.hash")
    assert mark(RECORD) == mark({**RECORD, "values": [9.0], "metadata": {"deep": {"hash": "x"}}})
    assert mark(RECORD) != mark({**RECORD, "metadata": {"deep": {"hash": "y"}}})
    with pytest.raises(FlawError, match=r"metadata\.deep\.hash"):
        mark({**RECORD, "metadata": {"deep": "no object"}})


@pytest.mark.parametrize("wrong", ["metadata", "metadata.", "content_hash", None, "metadata..a"])
def test_what_changed_by_can_be(wrong):
    with pytest.raises(InvalidArgumentError, match="changed_by must be"):
        SyncOptions(changed_by=wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"id_prefix": ""}, {"max_delete_fraction": 1.1}, {"max_delete_fraction": True}, {"min_records": -1}],
)
def test_options_that_can_never_work(wrong):
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        SyncOptions(**wrong)
