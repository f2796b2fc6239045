"""Parquet files and frames: the same vectors as their NDJSON twin, in bounded memory, by whatever wrote them."""

from __future__ import annotations

import json
import threading

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import (
    IngestAbortedError,
    InvalidArgumentError,
    InvalidRecordError,
    SourceError,
)
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.ingest import IngestOptions, ingest
from airflow_provider_vectorize.ingest.arrow import rows
from airflow_provider_vectorize.ingest.files import SourceFile
from airflow_provider_vectorize.ingest.lines import START, Position
from airflow_provider_vectorize.ingest.pieces import Piece, split_files
from airflow_provider_vectorize.ingest.records import Checker, FlawError, Row
from airflow_provider_vectorize.ingest.tables import mapped

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
LOCAL = fsspec.filesystem("file")
ROWS = 100
VALUES = np.random.default_rng(5).standard_normal((ROWS, 32)).astype(np.float32)
COLUMNS = {"id": "doc", "values": "embedding", "metadata": ["lang", "n"]}


def table(values=None, **more):
    columns = {
        "doc": [f"d{n:03}" for n in range(ROWS)],
        "embedding": pa.array(list(VALUES)) if values is None else values,
        "lang": ["en"] * ROWS,
        "n": list(range(ROWS)),
    }
    return pa.table(columns | more)


def files(*paths):
    return [SourceFile(LOCAL, str(path), str(path)) for path in paths]


def read(records, columns=COLUMNS, start=START, **kwargs):
    return list(mapped(records, columns, **kwargs).read(start, lambda: None))


@pytest.fixture
def client():
    with Emulator() as emulator:
        emulator.create_index("docs", dimensions=32, metric="cosine")
        yield VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)


def loaded(client, records, columns=COLUMNS, **kwargs):
    report = ingest(client, "docs", mapped(records, columns), **kwargs)
    found = client.get_by_ids("docs", [f"d{n:03}" for n in range(ROWS)])
    return report, {each.id: each for each in found}


def flat(values):
    return pa.array(np.asarray(values).reshape(-1))


KINDS = {
    "fixed-size float32": lambda: pa.FixedSizeListArray.from_arrays(flat(VALUES), 32),
    "fixed-size float64": lambda: pa.FixedSizeListArray.from_arrays(flat(VALUES.astype(np.float64)), 32),
    "fixed-size float16": lambda: pa.FixedSizeListArray.from_arrays(flat(VALUES.astype(np.float16)), 32),
    "list float32": lambda: pa.array(list(VALUES)),
    "list float64": lambda: pa.array(VALUES.astype(np.float64).tolist()),
    "large list float32": lambda: pa.array(list(VALUES), pa.large_list(pa.float32())),
    "JSON in a text": lambda: pa.array(map(json.dumps, VALUES.astype(np.float64).tolist())),
    "list of integers": lambda: pa.array(np.arange(ROWS * 32).reshape(ROWS, 32).tolist()),
}


class TestParquet:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_of_list_gives_the_same_as_its_ndjson_twin(self, client, tmp_path, kind):
        made = table(KINDS[kind]())
        pq.write_table(made, tmp_path / "a.parquet", row_group_size=30)
        rows = made.to_pylist()
        if kind == "JSON in a text":
            rows = [row | {"embedding": json.loads(row["embedding"])} for row in rows]
        text = "".join(json.dumps(row, default=float) + "\n" for row in rows)
        _, from_parquet = loaded(client, files(tmp_path / "a.parquet"))
        assert len(from_parquet) == ROWS
        client.delete_by_ids("docs", from_parquet)
        _, from_text = loaded(client, text)
        assert from_parquet == from_text

    def test_values_are_arrays_and_never_python_numbers(self, tmp_path):
        pq.write_table(table(), tmp_path / "a.parquet")
        first = read(files(tmp_path / "a.parquet"))[0].data
        assert isinstance(first["values"], np.ndarray)
        assert first["values"].dtype == np.float32

    def test_its_own_names_need_no_columns_and_metadata_may_be_json(self, tmp_path):
        made = pa.table({"id": ["a"], "values": [[1.0, 2.0]], "namespace": ["n"], "metadata": ['{"k": [1]}']})
        pq.write_table(made, tmp_path / "a.parquet")
        [item] = read(files(tmp_path / "a.parquet"), None)
        assert item.data["values"].tolist() == [1.0, 2.0]
        del item.data["values"]
        assert item.data == {"id": "a", "namespace": "n", "metadata": {"k": [1]}}

    @pytest.mark.parametrize(
        "text",
        ["[1.0, 2.0", "", "[" + "1," * 2**19 + "1]", "7", '{"a": 1}', '"[1.0]"'],
        ids=["cut", "empty", "too long", "number", "object", "text"],
    )
    def test_a_text_that_holds_no_list_of_values_is_refused_as_any_other(self, tmp_path, text):
        pq.write_table(table(pa.array([text] * ROWS)), tmp_path / "a.parquet")
        with pytest.raises(FlawError, match="values must be a list of numbers, got"):
            Checker(32, namespace=None, compact=True, max_bytes=10_000).check(
                read(files(tmp_path / "a.parquet"))[0].data
            )

    @pytest.mark.parametrize("line", [0, 1, 29, 30, 31, 59, 60, 99])
    def test_it_is_entered_at_a_row(self, tmp_path, line):
        pq.write_table(table(), tmp_path / "a.parquet", row_group_size=30)
        items = read(files(tmp_path / "a.parquet"), start=Position(0, line))
        assert [item.data["metadata"]["n"] for item in items] == list(range(line, ROWS))
        assert items[0].start == Position(0, line)
        assert items[-1].end == Position(0, ROWS)

    def test_a_load_goes_on_at_a_row(self, client, tmp_path):
        class Store:
            kept = None

            def load(self):
                return self.kept

            def save(self, state):
                self.kept = state

        pq.write_table(table(), tmp_path / "a.parquet", row_group_size=30)
        store, stop = Store(), threading.Event()
        options = IngestOptions(max_batch_vectors=10, max_in_flight=1)
        with pytest.raises(IngestAbortedError):
            loaded(
                client,
                files(tmp_path / "a.parquet"),
                options=options,
                checkpoint=store,
                stop=stop,
                progress=lambda report: stop.set() if report.accepted >= 40 else None,
            )
        report, found = loaded(client, files(tmp_path / "a.parquet"), options=options, checkpoint=store)
        assert report.resumed_from[1] > 40
        assert len(found) == ROWS

    def test_other_columns_are_another_load(self, tmp_path):
        pq.write_table(table(), tmp_path / "a.parquet")
        one, two = (mapped(files(tmp_path / "a.parquet"), COLUMNS | {"metadata": m}) for m in ("*", []))
        assert one.identity() != two.identity()

    def test_a_row_that_is_wrong_is_named_by_file_and_row(self, client, tmp_path):
        values = VALUES.tolist()
        values[41] = values[41][:5]
        pq.write_table(table(pa.array(values)), tmp_path / "a.parquet", row_group_size=30)
        with pytest.raises(
            InvalidRecordError, match=r"a.parquet, line 42 \(id 'd041'\): the index has 32 dimensions"
        ):
            loaded(client, files(tmp_path / "a.parquet"))

    @pytest.mark.parametrize("bad", [None, [None] * 32])
    def test_null_where_values_should_be(self, client, tmp_path, bad):
        values = VALUES.tolist()
        values[41] = bad
        for array in (pa.array(values), pa.array(values, pa.list_(pa.float32(), 32))):
            try:
                pq.write_table(table(array), tmp_path / "a.parquet")
            except pa.ArrowNotImplementedError:  # an older pyarrow writes no fixed-size list that is null
                continue
            with pytest.raises(InvalidRecordError, match="line 42"):
                loaded(client, files(tmp_path / "a.parquet"))

    def test_a_column_that_is_not_there_is_red_before_anything_is_sent(self, client, tmp_path):
        pq.write_table(table(), tmp_path / "a.parquet")
        with pytest.raises(
            InvalidArgumentError, match=r"a.parquet: there is no column 'vec'; there are 'doc', 'embedding'"
        ):
            loaded(client, files(tmp_path / "a.parquet"), {"id": "doc", "values": "vec"})
        assert client.index_info("docs").vector_count == 0

    def test_hive_partitions_are_columns(self, tmp_path):
        folder = tmp_path / "tenant=ac%20me" / "day=__HIVE_DEFAULT_PARTITION__"
        folder.mkdir(parents=True)
        pq.write_table(table(), folder / "part.parquet")
        columns = COLUMNS | {"namespace": "tenant", "metadata": ["n", "tenant", "day"]}
        first = read(files(folder / "part.parquet"), columns)[0].data
        assert (first["namespace"], first["metadata"]) == ("ac me", {"n": 0, "tenant": "ac me", "day": None})

    def test_format_decides_whatever_the_name(self, tmp_path):
        pq.write_table(table(), tmp_path / "data.bin")
        assert len(read(files(tmp_path / "data.bin"), format="parquet")) == ROWS
        (tmp_path / "lines.parquet").write_text('{"doc": "a", "embedding": [1.0], "lang": "x", "n": 1}\n')
        assert len(read(files(tmp_path / "lines.parquet"), format="ndjson")) == 1

    def test_parquet_and_lines_in_one_list(self, tmp_path):
        pq.write_table(table(), tmp_path / "a.parquet")
        (tmp_path / "b.ndjson").write_text('{"doc": "z", "embedding": [1.0], "lang": "x", "n": 1}\n')
        items = read(files(tmp_path / "a.parquet", tmp_path / "b.ndjson"))
        assert len(items) == ROWS + 1
        assert items[-1].data == {"id": "z", "values": [1.0], "metadata": {"lang": "x", "n": 1}}
        assert items[-1].start.source == 1

    def test_a_file_that_breaks_off(self, tmp_path):
        pq.write_table(table(), tmp_path / "a.parquet")
        whole = (tmp_path / "a.parquet").read_bytes()
        (tmp_path / "a.parquet").write_bytes(whole[:-20])
        with pytest.raises(SourceError, match=r"a.parquet cannot be read as Parquet"):
            read(files(tmp_path / "a.parquet"))


class TestPiecesOfAFile:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
    def test_every_row_is_in_exactly_one_and_none_is_empty(self, rows, of_a_group, parts):
        memory = fsspec.filesystem("memory")
        with memory.open("/pieces/a.parquet", "wb") as raw:
            pq.write_table(table().slice(0, rows), raw, row_group_size=of_a_group)
        whole = SourceFile(memory, "/pieces/a.parquet", "a.parquet")
        pieces = split_files([("path", whole)], parts)
        assert len(pieces) <= parts
        found = [read([Piece.from_dict(piece.to_dict()).of(whole)]) for piece in pieces]
        assert all(found)
        items = [item for each in found for item in each]
        assert [item.data["metadata"]["n"] for item in items] == list(range(rows))
        assert [item.start for item in items] == [
            Position(0, n) for n in range(rows)
        ]  # the rows of the whole file

    def test_a_piece_is_entered_at_a_row(self, tmp_path):
        pq.write_table(table(), tmp_path / "a.parquet", row_group_size=10)
        [whole] = files(tmp_path / "a.parquet")
        _, second = (piece.of(whole) for piece in split_files([("path", whole)], 2))
        begin = read([second])[0].start.line
        assert begin % 10 == 0
        items = read([second], start=Position(0, begin + 13))
        assert [item.data["metadata"]["n"] for item in items] == list(range(begin + 13, ROWS))


class TestValuesAreCheckedForManyRowsAtOnce:
    """With the outcome of the checks of one record, on any float there is."""

    #: Read again by way of a double, its shortest text is another float32.
    ROUNDED_TWICE = float(np.uint32(0x15AE43FD).view(np.float32))
    FLOATS = st.one_of(
        st.floats(width=64),
        st.sampled_from([ROUNDED_TWICE, -ROUNDED_TWICE, 3.4028236e38, 1e39, -0.0, 1e-46, float("nan")]),
    )
    ROWS = st.lists(
        st.none() | st.lists(st.just(0.5) | FLOATS, min_size=0, max_size=4), min_size=1, max_size=8
    )

    @staticmethod
    def outcome(data, compact):
        checker = Checker(2, namespace=None, compact=compact, max_bytes=1000)
        try:
            return checker.check(data).line
        except FlawError as flaw:
            return flaw.code, flaw.reason

    @settings(max_examples=150, deadline=None)
    @given(ROWS, st.sampled_from(["f2", "f4", "f8"]), st.booleans(), st.booleans(), st.integers(0, 3))
    def test_any_rows(self, rows, width, fixed, compact, begin):
        with np.errstate(over="ignore"):
            arrays = [None if row is None else np.array(row, width) for row in rows]
        number = pa.from_numpy_dtype(width)
        if fixed:
            arrays = [None if each is None else np.resize(each, 2) if len(each) else None for each in arrays]
        kind = pa.list_(number, 2) if fixed else pa.list_(number)
        column = pa.array([None if each is None else each.tolist() for each in arrays], kind)
        made = pa.table({"id": [f"r{n}" for n in range(len(rows))], "values": column}).slice(begin)
        for item, values in zip(read(made, None), arrays[begin:], strict=True):
            alone = {"id": item.data["id"], "values": values}
            assert self.outcome(item.data, compact) == self.outcome(alone, compact)

    def test_what_is_right_is_not_looked_at_again(self):
        values = VALUES.astype(np.float64)
        values[[3, 40]] = [[np.nan], [1e39]]
        items = read(table(pa.array(values.tolist())))
        assert [n for n, item in enumerate(items) if not isinstance(item.data, Row)] == [3, 40]


TEXTS = st.lists(st.none() | st.text(max_size=5), min_size=1, max_size=20)


class TestRowsAreThoseOfArrow:
    """They are made faster than by ``to_pylist()``, and are the same."""

    @settings(max_examples=60, deadline=None)
    @given(texts=TEXTS, begin=st.integers(0, 5), filled=st.booleans(), dictionary=st.booleans())
    def test_of_texts_structs_and_dictionaries(self, texts, begin, filled, dictionary):
        texts = [each or "" for each in texts] if filled else texts
        column = pa.array(texts, pa.string())
        column = column.dictionary_encode() if dictionary else column
        numbers = pa.array(range(len(texts)))
        struct = pa.StructArray.from_arrays([column, numbers], ["title", "page"])
        empty = pa.array([{}] * len(texts), pa.struct([]))
        names = ["text", "number", "metadata", "nothing"]
        batch = pa.record_batch([column, numbers, struct, empty], names).slice(begin)
        assert rows(batch) == batch.to_pylist()

    def test_of_structs_that_are_null(self):
        batch = pa.record_batch([pa.array([{"a": "x"}, None])], ["metadata"])
        assert rows(batch) == batch.to_pylist()


class TestWhatOthersWrite:
    """A small file each, made by the library itself where it is at hand, or else in its layout."""

    def ids(self, path, columns=COLUMNS):
        return [item.data["id"] for item in read(files(path), columns)]

    def test_pandas(self, tmp_path):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(
            {
                "doc": [f"d{n:03}" for n in range(ROWS)],
                "embedding": list(VALUES),
                "lang": "en",
                "n": range(ROWS),
            }
        )
        frame.to_parquet(tmp_path / "a.parquet")
        assert self.ids(tmp_path / "a.parquet")[:2] == ["d000", "d001"]

    def test_polars(self, tmp_path):
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame(
            {
                "doc": [f"d{n:03}" for n in range(ROWS)],
                "embedding": VALUES,
                "lang": ["en"] * ROWS,
                "n": range(ROWS),
            }
        )
        frame.write_parquet(tmp_path / "a.parquet")
        assert self.ids(tmp_path / "a.parquet")[:2] == ["d000", "d001"]

    def test_the_layout_of_spark(self, tmp_path):
        values = pa.array(VALUES.tolist(), pa.list_(pa.field("element", pa.float32())))
        pq.write_table(
            table(values), tmp_path / "part-00000-x.c000.snappy.parquet", compression="snappy", version="1.0"
        )
        assert len(self.ids(tmp_path / "part-00000-x.c000.snappy.parquet")) == ROWS

    def test_the_layout_of_huggingface(self, tmp_path):
        made = table(KINDS["list float32"]()).replace_schema_metadata(
            {"huggingface": '{"info": {"features": {}}}'}
        )
        pq.write_table(made, tmp_path / "a.parquet", row_group_size=25, write_page_index=True)
        assert len(self.ids(tmp_path / "a.parquet")) == ROWS


class TestFrames:
    def check(self, frame):
        items = read(frame)
        assert [item.data["metadata"]["n"] for item in items] == list(range(ROWS))
        assert (np.array([item.data["values"] for item in items]) == VALUES).all()
        assert items[-1].end == Position(0, ROWS)

    def test_an_arrow_table(self):
        self.check(table())

    def test_a_reader_of_record_batches(self):
        self.check(pa.RecordBatchReader.from_batches(table().schema, table().to_batches(max_chunksize=7)))

    def test_record_batches_as_they_come(self):
        seen = []

        def batches():
            for batch in table().to_batches(max_chunksize=10):
                seen.append(len(batch))
                yield batch

        source = mapped(batches(), COLUMNS).read(START, lambda: None)
        next(source)
        assert seen == [10]
        assert len(list(source)) == ROWS - 1

    def test_pandas(self):
        pandas = pytest.importorskip("pandas")
        self.check(
            pandas.DataFrame(
                {
                    "doc": [f"d{n:03}" for n in range(ROWS)],
                    "embedding": list(VALUES),
                    "lang": "en",
                    "n": range(ROWS),
                }
            )
        )

    def test_polars(self):
        polars = pytest.importorskip("polars")
        self.check(
            polars.DataFrame(
                {
                    "doc": [f"d{n:03}" for n in range(ROWS)],
                    "embedding": VALUES,
                    "lang": ["en"] * ROWS,
                    "n": range(ROWS),
                }
            )
        )

    def test_a_slice(self):
        items = read(table(KINDS["fixed-size float32"]()).slice(10, 5))
        assert (np.array([item.data["values"] for item in items]) == VALUES[10:15]).all()
        items = read(table().slice(10, 5))
        assert (np.array([item.data["values"] for item in items]) == VALUES[10:15]).all()

    def test_a_column_that_is_not_there(self):
        with pytest.raises(InvalidArgumentError, match="vectors: there is no column 'vec'; there are 'doc'"):
            read(table(), {"id": "doc", "values": "vec"})

    def test_without_pyarrow_the_extra_is_named(self, monkeypatch):
        made = table()
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(
            InvalidArgumentError, match=r"pip install 'airflow-provider-vectorize\[parquet\]'"
        ):
            read(made)
