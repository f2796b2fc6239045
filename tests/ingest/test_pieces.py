"""One file on many workers: every line is in exactly one piece."""

from __future__ import annotations

import gzip
import io

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import InvalidArgumentError, SourceError
from airflow_provider_vectorize.ingest.files import SourceFile
from airflow_provider_vectorize.ingest.lines import START, Position
from airflow_provider_vectorize.ingest.pieces import LOOK_BYTES, Piece, begins, split_files
from airflow_provider_vectorize.ingest.sources import Files
from tests.ingest.helpers import source_file

MEMORY = fsspec.filesystem("memory")


def stored(data: bytes, path: str = "/pieces/a.ndjson") -> SourceFile:
    MEMORY.pipe(path, data)
    return SourceFile(MEMORY, path, f"memory:/{path}")


def lines(file: SourceFile, start: Position = START) -> list[bytes]:
    return [item.data for item in Files([file]).read(start, lambda: None)]


def cut(file: SourceFile, parts: int) -> list[Piece]:
    return split_files([("path", file)], parts)


LINE = st.text(st.sampled_from("ab\u00e9"), min_size=1, max_size=40).map(lambda text: f'"{text}"'.encode())
TEXT = st.lists(st.one_of(LINE, st.just(b""), st.just(b" \t")), max_size=40)


@given(TEXT, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(), st.integers(1, 60))
def test_all_pieces_together_are_the_file_and_none_is_empty(texts, newline, ended, bom, parts):
    data = b"\xef\xbb\xbf" * bom + newline.join(texts) + newline * ended
    file = stored(data)
    whole = lines(file)
    pieces = cut(file, parts)
    assert len(pieces) <= parts
    found = [lines(Piece.from_dict(piece.to_dict()).of(file)) for piece in pieces]
    assert [line for each in found for line in each] == whole
    assert all(found) or not whole
    assert [piece.first_byte for piece in pieces[1:]] == [piece.last_byte + 1 for piece in pieces[:-1]]
    assert pieces[0].first_byte == 0
    assert pieces[-1].last_byte == len(data) - 1


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20), st.integers(1, 100))
def test_parts_are_shared_out_by_size(sizes, parts):
    places = begins(sizes, parts)
    for size, starts in zip(sizes, places, strict=True):
        assert starts[0] == 0
        assert starts == sorted(set(starts)) or size == 0
        assert len(starts) >= 1
    if len(sizes) == 1 and sizes[0] >= parts:
        assert len(places[0]) == parts


def test_a_line_that_is_longer_than_a_look_is_found_to_end():
    long = b'"' + b"x" * (3 * LOOK_BYTES) + b'"\n'
    file = stored(long * 4)
    assert [lines(piece.of(file)) for piece in cut(file, 4)] == [[long]] * 4
    assert len(cut(file, 40)) == 4


def test_a_piece_is_read_on_from_a_place_in_it(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"".join(b'"%03d"\n' % number for number in range(100)))
    file = source_file(path)
    second = cut(file, 2)[1].of(file)
    items = list(Files([second]).read(START, lambda: None))
    assert items[0].end == Position(0, 1, 6)
    assert lines(second, items[9].end) == [item.data for item in items[10:]]


def test_a_piece_has_a_name_and_an_identity_of_its_own(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'"a"\n' * 100)
    file = source_file(path)
    first, second = (piece.of(file) for piece in cut(file, 2))
    assert first.name == f"{file.name}#bytes=0-199"
    assert Files([first]).identity() != Files([second]).identity()


def test_a_compressed_file_is_one_piece(tmp_path):
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(b'"a"\n' * 100))
    file = source_file(path)
    [piece] = cut(file, 8)
    assert piece.last_byte == path.stat().st_size - 1
    assert len(lines(piece.of(file))) == 100


def test_every_file_has_a_piece_and_big_ones_have_more(tmp_path):
    files = []
    for name, count in {"small": 1, "big": 300, "medium": 100}.items():
        (tmp_path / name).write_bytes(b'"abcdefgh"\n' * count)
        files.append((name, source_file(tmp_path / name)))
    pieces = [piece.path for piece in split_files(files, 4)]
    assert pieces == ["small", "big", "big", "big", "medium"]


def test_a_file_that_was_replaced_since_is_refused():
    file = stored(b'"a"\n' * 10)
    piece = cut(file, 2)[1]
    MEMORY.pipe(file.path, b'"bb"\n' * 10)
    with pytest.raises(SourceError, match="is not the file that was split: it was 40 bytes"):
        piece.of(file)


def test_a_file_that_is_shorter_when_it_is_read_breaks_off(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'"a"\n' * 100)
    file = source_file(path)
    last = cut(file, 2)[1].of(file)
    path.write_bytes(b'"a"\n' * 90)
    with pytest.raises(SourceError, match="breaks off after line 40"):
        lines(last)


@pytest.mark.parametrize("parts", [0, -1, True, 1.5, "4"])
def test_parts_that_are_no_count_are_refused(parts):
    with pytest.raises(InvalidArgumentError, match="parts must be an integer of at least 1"):
        cut(stored(b'"a"\n'), parts)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"id": "a", "values": [1.0]},
        {"path": "a", "first_byte": 5, "last_byte": 3, "version": ""},
        {"path": "a", "first_byte": -1, "last_byte": 4, "version": ""},
        {"path": "a", "first_byte": "0", "last_byte": 4, "version": ""},
        {"path": "a", "first_byte": 0, "last_byte": True, "version": ""},
        {"path": None, "first_byte": 0, "last_byte": 4, "version": ""},
        {"path": "a", "first_byte": 0, "last_byte": 4, "version": "", "more": 1},
    ],
)
def test_a_mapping_that_is_no_piece_is_refused(value):
    with pytest.raises(InvalidArgumentError, match="must be a piece as"):
        Piece.from_dict(value)


def test_the_window_is_a_file_like_others():
    file = stored(b"".join(b'"%d"\n' % number for number in range(10)))
    second = cut(file, 2)[1].of(file)
    with second.fs.open(second.path, "rb") as window:
        text = window.read()
        assert text == b'"5"\n"6"\n"7"\n"8"\n"9"\n'
        assert window.seek(-4, io.SEEK_END) == 16
        assert window.read() == b'"9"\n'
        assert window.seek(-8, io.SEEK_CUR) == 12
        assert window.seek(99) == 20
        assert window.read() == b""
