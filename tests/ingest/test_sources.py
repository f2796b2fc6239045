"""Reading: lines, files, memory, iterables."""

from __future__ import annotations

import gzip
import io
import json
import threading
import time
import tracemalloc

import fsspec
import pytest

from airflow_provider_vectorize.client.errors import IngestAbortedError, SourceError
from airflow_provider_vectorize.ingest import unpacking
from airflow_provider_vectorize.ingest.records import MAX_LINE_BYTES, TooLong
from airflow_provider_vectorize.ingest.sources import (
    START,
    Files,
    Position,
    Records,
    SourceFile,
    Stream,
    Text,
    as_source,
    expand,
)
from airflow_provider_vectorize.ingest.unpacking import Unpacked
from tests.ingest.helpers import FS, source_file


def never() -> None:
    pass


def read(source, start=START):
    return list(source.read(start, never))


def lines(source, start=START):
    return [(each.end.line, each.data) for each in read(source, start)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"a\nb\n", [(1, b"a\n"), (2, b"b\n")]),
        (b"1\n2", [(1, b"1\n"), (2, b"2\n")]),
        (b"a\r\nb\r\n", [(1, b"a\n"), (2, b"b\n")]),
        (b"\n\na\n \t\r\nb\n\n", [(3, b"a\n"), (5, b"b\n")]),
        (b"\xef\xbb\xbfa\nb\n", [(1, b"a\n"), (2, b"b\n")]),
        (b"\xef\xbb\xbf\n", []),
        (b"a\n\xef\xbb\xbfb\n", [(1, b"a\n"), (2, b"\xef\xbb\xbfb\n")]),
    ],
)
def test_lines_end_in_one_newline_and_blank_ones_and_a_bom_are_left_out(text, expected):
    assert lines(Text(text)) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_of_1_mib_is_read_and_one_byte_more_is_not(end):
    assert lines(Text(b"1" * MAX_LINE_BYTES + end)) == [(1, b"1" * MAX_LINE_BYTES + b"\n")]
    assert lines(Text(b"1" * (MAX_LINE_BYTES + 1) + end)) == [(1, TooLong(MAX_LINE_BYTES + 1))]
    assert lines(Text(b"1" * (MAX_LINE_BYTES + 2) + end)) == [(1, TooLong(MAX_LINE_BYTES + 2))]


def test_after_a_line_that_is_too_long_reading_goes_on():
    text = b"a\n" + b"x" * (3 * MAX_LINE_BYTES) + b"\nb\n" + b"y" * (2 * MAX_LINE_BYTES)
    assert lines(Text(text)) == [
        (1, b"a\n"),
        (2, TooLong(3 * MAX_LINE_BYTES)),
        (3, b"b\n"),
        (4, TooLong(2 * MAX_LINE_BYTES)),
    ]


def test_a_line_that_is_too_long_is_never_in_memory_as_a_whole(tmp_path):
    path = tmp_path / "long.ndjson"
    with path.open("wb") as stream:
        for _ in range(64):
            stream.write(b"x" * MAX_LINE_BYTES)
    tracemalloc.start()
    assert lines(Files([source_file(path)])) == [(1, TooLong(64 * MAX_LINE_BYTES))]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * MAX_LINE_BYTES


def test_reading_goes_on_at_the_place_behind_any_item(tmp_path):
    text = b"\xef\xbb\xbfaa\r\n\nb\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\n3"
    plain, packed = tmp_path / "a.ndjson", tmp_path / "a.ndjson.gz"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    for source in (Text(text), Files([source_file(plain)]), Files([source_file(packed)])):
        whole = read(source)
        for count, each in enumerate(whole):
            assert read(source, each.start) == whole[count:]
            assert read(source, each.end) == whole[count + 1 :]


def test_files_are_read_one_after_the_other(tmp_path):
    for name, text in (("a", b"1\n2"), ("b", b""), ("c", b"3\n")):
        (tmp_path / name).write_bytes(text)
    source = Files([source_file(tmp_path / name) for name in "abc"])
    assert [each.data for each in read(source)] == [b"1\n", b"2\n", b"3\n"]
    assert [each.end for each in read(source)] == [Position(0, 1, 2), Position(0, 2, 3), Position(2, 1, 2)]
    assert [each.data for each in read(source, Position(0, 2, 3))] == [b"3\n"]


def test_gz_of_several_members_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    assert [each.data for each in read(Files([source_file(path)]))] == [b"a\n", b"b\n"]


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.999])
def test_a_truncated_gz_names_the_file_and_the_last_good_line(tmp_path, kept):
    path = tmp_path / "a.gz"
    packed = gzip.compress("".join(f"{number:0200d}\n" for number in range(50_000)).encode())
    path.write_bytes(packed[: int(len(packed) * kept)])
    seen = []
    with pytest.raises(SourceError, match=r"a\.gz breaks off after line \d+") as caught:
        seen.extend(Files([source_file(path)]).read(START, never))
    assert f"line {seen[-1].end.line if seen else 0}:" in str(caught.value)


def test_a_damaged_gz_and_one_that_is_none_are_errors(tmp_path):
    path = tmp_path / "a.gz"
    packed = bytearray(gzip.compress(b"abc\n" * 100))
    packed[-5] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(SourceError, match=r"a\.gz breaks off"):
        read(Files([source_file(path)]))
    path.write_bytes(b"no gzip at all\n")
    with pytest.raises(SourceError, match=r"a\.gz breaks off after line 0"):
        read(Files([source_file(path)]))


def test_a_plain_file_that_ends_before_its_size_breaks_off(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"a\nb\n")

    class Shrinking(type(FS)):
        cachable = False

        def info(self, path, **kwargs):
            return super().info(path, **kwargs) | {"size": 10}

    with pytest.raises(
        SourceError, match=r"breaks off after line 2, .*: 4 bytes could be read, and it had 10"
    ):
        read(Files([SourceFile(Shrinking(), str(path), "a.ndjson")]))


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_grows_while_it_is_read_is_an_error(tmp_path, packed):
    path = tmp_path / ("a.ndjson.gz" if packed else "a.ndjson")
    part = (b"a" * 999 + b"\n") * 20_000  # more than what is read ahead
    path.write_bytes(gzip.compress(part, 0) if packed else part)
    items = Files([source_file(path)]).read(START, never)
    next(items)
    with path.open("ab") as stream:
        stream.write(gzip.compress(part, 0) if packed else part)
    with pytest.raises(SourceError, match="still being written"):
        for _ in items:
            pass


def test_a_gz_is_read_to_its_end_when_the_thread_that_unpacks_it_ends_early(tmp_path, monkeypatch):
    # As the library does when the thread ends between a look for its last block and a look whether it lives.
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d\n" % n for n in range(500_000))))
    opened = unpacking.igzip_threaded.open

    class Hasty:
        def __init__(self, *args, **kwargs):
            self.text, self.asked = opened(*args, **kwargs), 0

        def readinto1(self, buffer):
            self.asked += 1
            return self.text.readinto1(buffer) if self.asked % 2 else 0

        def close(self):
            self.text.close()

    monkeypatch.setattr(unpacking.igzip_threaded, "open", Hasty)
    assert len(read(Files([source_file(path)]))) == 500_000


@pytest.mark.parametrize("begun", [False, True])
def test_no_thread_is_left_of_a_gz_that_is_read_no_further(tmp_path, begun):
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(b"abc\n" * 10_000_000, 1))
    before = threading.enumerate()
    items = Files([source_file(path)]).read(START, never)
    if begun:
        next(items)
        assert threading.enumerate() != before
    items.close()
    assert threading.enumerate() == before


def test_a_gz_whose_read_hangs_does_not_hold_up_whoever_reads_no_further():
    packed, goes_on = gzip.compress(b"".join(b"%d\n" % n for n in range(3_000_000)), 1), threading.Event()

    class Hanging(io.BytesIO):
        def readinto(self, buffer):
            if self.tell():
                goes_on.wait(60)
            return super().readinto(memoryview(buffer)[: 1 << 20])

    reading = Unpacked(Hanging(packed))
    assert reading.readinto(bytearray(10)) == 10
    started = time.monotonic()
    reading.close()
    assert time.monotonic() - started < 10
    goes_on.set()


def test_files_can_be_read_twice_where_opening_them_is_asking(s3):
    with s3.open("bucket/twice.ndjson", "wb") as stream:
        stream.write(b"1\n2\n")
    files = expand(s3, "bucket/twice.ndjson", "")
    assert len(read(Files(files))) == len(read(Files(files))) == 2


def test_a_gz_that_is_cut_between_two_of_its_members_breaks_off(tmp_path):
    path = tmp_path / "a.gz"
    first = gzip.compress(b"abc\n" * 10)
    path.write_bytes(first)

    class Longer(type(FS)):
        cachable = False

        def info(self, path, **kwargs):
            return super().info(path, **kwargs) | {"size": 2 * len(first)}

    with pytest.raises(SourceError, match="breaks off after line 10"):
        read(Files([SourceFile(Longer(), str(path), "a.gz")]))


@pytest.mark.timeout(10)
def test_a_gz_that_ends_before_the_place_where_the_load_goes_on_is_an_error(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"abc\n" * 10))
    with pytest.raises(SourceError, match=r"a\.gz cannot be read: OSError: it ends before byte 80"):
        list(Files([source_file(path)]).read(Position(0, 20, 80), never))


def test_what_cannot_be_read_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SourceError, match=r"none\.ndjson does not exist"):
        read(Files([source_file(tmp_path / "none.ndjson")]))
    with pytest.raises(SourceError, match="is a folder"):
        read(Files([source_file(tmp_path)]))


def test_an_error_while_reading_names_the_file(tmp_path):
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def seekable(self):
            return True

        def tell(self):
            return 0

        def readinto(self, buffer):
            raise OSError("the network is gone")

    class Filesystem:
        def info(self, path):
            return {"size": 10, "type": "file"}

        def open(self, path, mode, block_size):
            return Broken()

    with pytest.raises(SourceError, match=r"s3://b/k cannot be read: OSError: the network is gone"):
        read(Files([SourceFile(Filesystem(), "k", "s3://b/k")]))


def test_a_glob_is_expanded_in_a_stable_order(tmp_path):
    for name in ("b.ndjson", "a.ndjson", "c.txt", "a10.ndjson"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "folder.ndjson").mkdir()
    found = expand(FS, f"{tmp_path}/*.ndjson", "glob")
    assert [each.path.rsplit("/", 1)[1] for each in found] == ["a.ndjson", "a10.ndjson", "b.ndjson"]
    assert found[0].name == f"file://{tmp_path}/a.ndjson"
    assert expand(FS, f"{tmp_path}/*.none", "glob") == []


def test_a_file_has_one_name_whether_a_path_or_a_glob_finds_it(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text("1\n")
    assert expand(FS, str(path), "path") == expand(FS, f"{tmp_path}/*", "glob")
    assert expand(FS, f"{tmp_path}/none.ndjson", "path") == []


def test_a_file_changes_its_identity_with_its_contents(tmp_path):
    path = tmp_path / "a"
    path.write_text("a\n")
    before = Files([source_file(path)]).identity()
    assert Files([source_file(path)]).identity() == before
    path.write_text("b\n")
    assert Files([source_file(path)]).identity() != before


def test_an_etag_is_what_tells_an_object_from_another():
    memory = fsspec.filesystem("memory")

    class Store:
        def info(self, path):
            return {"size": 3, "type": "file", "ETag": "xyz", "LastModified": "today"}

    assert Files([SourceFile(Store(), "k", "s3://b/k")]).identity() == [["s3://b/k", 3, "xyz"]]
    assert memory is not None


def test_an_iterable_gives_its_items_with_their_positions():
    assert lines(Records({"id": str(number)} for number in range(2))) == [(1, {"id": "0"}), (2, {"id": "1"})]


def test_a_generator_that_fails_breaks_off_and_says_where():
    def generator():
        yield {"id": "a"}
        raise RuntimeError("the database is gone")

    with pytest.raises(SourceError, match=r"vectors broke off after record 1: .*database") as caught:
        read(Records(generator()))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_lone_surrogate_spoils_only_its_line():
    assert [each.end.line for each in read(Text("a\n\ud800\nb\n"))] == [1, 2, 3]


def test_how_an_input_is_read_depends_on_what_it_is(tmp_path):
    path = tmp_path / "a"
    assert isinstance(as_source("text"), Text)
    assert isinstance(as_source(b"text"), Text)
    assert isinstance(as_source([source_file(path)]), Files)
    assert isinstance(as_source([]), Records)
    assert isinstance(as_source([{"id": "a"}]), Records)
    assert isinstance(as_source(iter(())), Records)
    assert isinstance(as_source(io.BytesIO(b"text")), Stream)
    with pytest.raises(SourceError, match="got int"):
        as_source(7)


def test_reading_can_be_interrupted_between_any_two_reads(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"a\n" * 100))

    def interrupt():
        raise IngestAbortedError("stop")

    for source in (Text(b"a\n"), Records([1]), Files([source_file(path)])):
        for start in (START, Position(0, 1, 2)):
            with pytest.raises(IngestAbortedError):
                next(source.read(start, interrupt))


@pytest.fixture(scope="module")
def s3():
    """A filesystem on moto's server, with a bucket."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    fs = fsspec.filesystem(
        "s3", key="k", secret="s", endpoint_url=f"http://{host}:{port}", skip_instance_cache=True, anon=False
    )
    fs.mkdir("bucket")
    yield fs
    server.stop()


@pytest.mark.parametrize("packed", [False, True])
def test_an_s3_object_of_several_parts_is_read_and_entered_in_the_middle(s3, packed):
    text = b"".join(
        json.dumps({"id": str(number), "pad": "x" * 1_000}).encode() + b"\n" for number in range(12_000)
    )
    name = f"bucket/parts.ndjson{'.gz' if packed else ''}"
    data = gzip.compress(text, compresslevel=0) if packed else text
    with s3.open(name, "wb", block_size=5 * 2**20) as stream:
        for at in range(0, len(data), 2**20):
            stream.write(data[at : at + 2**20])
    [file] = expand(s3, f"bucket/parts*{'.gz' if packed else 'n'}", "s3://bucket/parts*")
    assert file.name == f"s3://{name}"
    whole = read(Files([file]))
    assert b"".join(each.data for each in whole) == text
    assert read(Files([file]), whole[9_000].end) == whole[9_001:]
    assert "-" in Files([file]).identity()[0][2]  # the ETag of an object of several parts
