"""The file of rows: what is written is read, and what is not whole is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import ManifestError
from airflow_provider_vectorize.sync.segments import decode, encode

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=16)
rows = st.lists(st.tuples(ids, st.none() | st.just(b"") | st.binary(min_size=16, max_size=16)))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(rows, st.integers(1, 300))
def test_what_is_written_is_read_in_pieces_of_any_size(written, size):
    header, *read = decode(cut(b"".join(encode({"a": 1}, written)), size), "file")
    assert header == {"a": 1}
    assert read == written


def test_more_rows_than_a_block_has():
    written = [(f"id-{number:0>50}", bytes(16)) for number in range(10_000)]
    blocks = list(encode({}, iter(written)))
    assert len(blocks) > 1
    assert list(decode(blocks, "file"))[1:] == written


@given(rows, st.data())
def test_a_file_that_is_cut_changed_or_longer_is_refused(written, data):
    whole = b"".join(encode({}, written))
    place = data.draw(st.integers(0, len(whole) - 1))
    change = data.draw(st.sampled_from(["cut", "flip", "append"]))
    broken = {
        "cut": whole[:place],
        "flip": whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :],
        "append": whole + b"x",
    }[change]
    with pytest.raises(ManifestError, match="the-name is damaged"):
        list(decode([broken], "the-name"))
