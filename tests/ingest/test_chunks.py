"""Cutting records into chunks."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.ingest.chunks import Chunk, Chunker, Entry
from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.ingest.rejects import Reject
from airflow_provider_vectorize.ingest.sources import START, Item, Position


def item(line: int) -> Item:
    return Item(None, Position(0, line - 1, 10 * (line - 1)), Position(0, line, 10 * line))


def reject(line: int) -> Reject:
    return Reject("s", line, None, "bad", "bad")


def run(steps, *, max_vectors=5_000, max_bytes=1_000_000, keep="last"):
    """Feed (id, size) as records and (None, size) as rejects; give the chunks."""
    chunker = Chunker(max_vectors=max_vectors, max_bytes=max_bytes, keep=keep)
    chunks = []
    for number, (name, size) in enumerate(steps, 1):
        if name is None:
            full = chunker.reject(reject(number), b"r" * size if size else None, item(number))
        else:
            line = f"{name}@{number} ".encode().ljust(size - 1, b"x") + b"\n"
            full = chunker.add(Record(name, line), item(number))
        chunks.append(full)
    return [chunk for chunk in [*chunks, chunker.flush()] if chunk is not None]


def sent(chunk):
    return [line.split(b" ")[0].decode() for line in b"".join(body_of(chunk)).splitlines()]


def body_of(chunk):
    return chunk.body(chunk.entries.values())


def test_a_chunk_closes_on_the_number_of_vectors():
    assert [len(chunk.entries) for chunk in run([(str(n), 20) for n in range(7)], max_vectors=3)] == [3, 3, 1]


def test_a_chunk_closes_on_bytes():
    assert [len(body_of(chunk)) for chunk in run([("a", 20), ("b", 20), ("c", 20)], max_bytes=40)] == [40, 20]
    bodies = [len(body_of(chunk)) for chunk in run([("a", 20), ("b", 21), ("c", 20)], max_bytes=40)]
    assert bodies == [20, 21, 20]


def test_nothing_makes_no_chunk():
    assert run([]) == []


@pytest.mark.parametrize(("keep", "expected"), [("last", ["b@2", "a@3"]), ("first", ["a@1", "b@2"])])
def test_of_equal_ids_an_upsert_keeps_the_last_and_an_insert_the_first(keep, expected):
    [chunk] = run([("a", 20), ("b", 20), ("a", 20)], keep=keep)
    assert sent(chunk) == expected
    assert len(chunk.superseded) == 1
    assert list(chunk.entries) == [name.split("@")[0] for name in expected]


def test_a_repeated_id_does_not_count_as_one_more_vector():
    [chunk] = run([("a", 20), ("b", 20), ("a", 20), ("b", 20)], max_vectors=2)
    assert sent(chunk) == ["a@3", "b@4"]


def test_records_that_gave_way_close_a_chunk_by_their_number():
    for keep in ("first", "last"):
        first, second = run([("a", 20)] * 5, max_vectors=2, keep=keep)
        assert (len(first.superseded), len(second.superseded)) == (2, 1)


def test_an_id_may_come_again_in_the_next_chunk():
    first, second = run([("a", 20), ("b", 20), ("c", 20), ("a", 20)], max_vectors=2)
    assert (sent(first), sent(second)) == (["a@1", "b@2"], ["c@3", "a@4"])
    assert first.superseded == second.superseded == []


def test_rejects_belong_to_the_chunk_in_which_they_are_met():
    first, second = run([("a", 20), (None, 5), ("b", 20), (None, 5)], max_vectors=1)
    assert [each.line for each in first.rejects] == [2]
    assert [each.line for each in second.rejects] == [4]


def test_rejects_alone_close_a_chunk_on_bytes():
    chunks = run([(None, 30), (None, 30), (None, 30)], max_bytes=60)
    assert [len(chunk.rejects) for chunk in chunks] == [2, 1]


def test_rejects_of_which_nothing_is_kept_close_a_chunk_by_their_number():
    chunks = run([(None, 0)] * 5, max_vectors=2)
    assert [len(chunk.rejects) for chunk in chunks] == [2, 2, 1]


def test_numbers_and_places_go_on_where_an_earlier_try_stopped():
    chunker = Chunker(max_vectors=1, max_bytes=100, keep="last", start=Position(0, 4, 40), number=7)
    chunker.add(Record("a", b"a\n"), item(5))
    chunk = chunker.flush()
    assert (chunk.number, chunk.start, chunk.end) == (7, Position(0, 4, 40), Position(0, 5, 50))


@given(st.lists(st.integers(1, 9), max_size=8), st.randoms())
def test_a_body_is_what_was_asked_for_in_as_few_pieces_as_it_can_be(sizes, random):
    ends = list(accumulate(sizes))
    entries = [Entry(str(end), end - size, end, START) for size, end in zip(sizes, ends, strict=True)]
    chosen = random.sample(entries, random.randint(0, len(entries)))
    text = bytes(range(sum(sizes)))
    body = Chunk(0, START, START, memoryview(text)).body(chosen)
    expected = b"".join(text[entry.begin : entry.end] for entry in chosen)
    assert b"".join(body) == b"".join(body) == expected, "it can be sent again"
    assert len(body) == len(expected)
    breaks = sum(before.end != after.begin for before, after in pairwise(chosen))
    assert len(list(body)) == (breaks + 1 if chosen else 0)


steps = st.lists(
    st.tuples(st.one_of(st.none(), st.sampled_from("abcdefgh")), st.integers(10, 40)), max_size=60
)


@settings(deadline=None)
@given(steps, st.integers(1, 6), st.integers(40, 120), st.sampled_from(["first", "last"]))
def test_chunks_hold_every_record_once_within_the_limits(given_steps, max_vectors, max_bytes, keep):
    chunks = run(given_steps, max_vectors=max_vectors, max_bytes=max_bytes, keep=keep)
    position = Position()
    settled = 0
    for number, chunk in enumerate(chunks):
        ids = list(chunk.entries)
        assert chunk.number == number
        assert chunk.start == position
        position = chunk.end
        assert len(ids) == len(set(ids)) <= max_vectors
        assert len(body_of(chunk)) == len(b"".join(body_of(chunk))) <= max_bytes
        assert chunk.bytes_read == chunk.end.offset - chunk.start.offset
        count = len(ids) + len(chunk.superseded) + len(chunk.rejects)
        assert count == chunk.end.line - chunk.start.line
        settled += count
        # What is in it is the first or last record of each id among its lines of the source.
        lines = range(chunk.start.line + 1, chunk.end.line + 1)
        winners: dict[str, str] = {}
        for line in lines:
            name = given_steps[line - 1][0]
            if name is not None and (keep == "last" or name not in winners):
                winners[name] = f"{name}@{line}"
        assert sorted(sent(chunk)) == sorted(winners.values())
        assert [entry.start.line + 1 for entry in chunk.entries.values()] == [
            int(each.split("@")[1]) for each in sent(chunk)
        ]
    assert settled == len(given_steps)


@settings(deadline=None)
@given(steps, st.integers(1, 6))
def test_a_chunk_is_as_full_as_it_can_be(given_steps, max_vectors):
    only_records = [step for step in given_steps if step[0] is not None]
    chunks = run(only_records, max_vectors=max_vectors)
    for chunk, after in pairwise(chunks):
        assert max_vectors in (len(chunk.entries), len(chunk.superseded))
        assert after.entries
