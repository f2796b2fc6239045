"""What a refused input is called: the cause, with file and line once, whatever it is."""

from __future__ import annotations

import array
import bz2
import decimal
import gzip
import io
import json
import os
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    InvalidRecordError,
    SourceError,
    VectorizeError,
)
from airflow_provider_vectorize.ingest import IngestOptions, SourceFile, ingest
from airflow_provider_vectorize.ingest.files import expand
from tests.ingest.helpers import DIMENSIONS, FS, FakeClient, Store, ndjson, record

ROW = record(1)
VALUES = ROW["values"]


def text(**fields):
    return ndjson([fields])


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.ndjson", ndjson([ROW]))
    return buffer.getvalue()


BATCH = {
    "id": "batch_req_1",
    "custom_id": "a",
    "response": {"body": {"data": [{"embedding": VALUES}]}},
    "error": None,
}

WORDS = {
    "vector": (text(id="a", vector=VALUES), "there is no values; the record has: id, vector. Is vector meant?"),
    "embedding": (text(id="a", embedding=VALUES, text="x"), "the record has: id, embedding, text. Is embedding meant?"),
    "vectors": (text(id="a", vectors=VALUES), "Is vectors meant? Then call it values"),
    "a typo": (text(id="a", vales=VALUES), "Is vales meant? Then call it values"),
    "_id": (text(_id="a", values=VALUES), "there is no id; the record has: _id, values. Is _id meant?"),
    "ID": (text(ID="a", values=VALUES), "Is ID meant? Then call it id"),
    "OpenAI's batch output": (ndjson([BATCH]), "id is its custom_id, values are its response.body.data[0].embedding"),
    "an array": (json.dumps([ROW, ROW]).encode(), "it is one JSON array (of 2 objects), and not one object a line"),
    "an array over lines": (b"[\n" + ndjson([ROW]) + b"]\n", "it begins a JSON array"),
    "the middle of an array": (json.dumps(ROW).encode() + b",\n" + ndjson([ROW]), "it is part of a JSON array"),
    "indented JSON": (json.dumps(ROW, indent=2).encode() + b"\n", "it is indented JSON"),
    "an indented array": (json.dumps([ROW], indent=2).encode() + b"\n", "it begins a JSON array"),
    "no newlines": (json.dumps(ROW).encode() * 3, "there are 3 JSON values without a newline between them"),
    "spaces for newlines": (b" ".join([json.dumps(ROW).encode()] * 2), "there are 2 JSON values without a newline"),
    "gzip": (gzip.compress(ndjson([ROW])), "it is gzip, and not NDJSON in UTF-8: give the file a name"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00\x00", "it is zstd"),
    "bzip2": (bz2.compress(ndjson([ROW])), "it is bzip2"),
    "zip": (zipped(), "it is a zip archive"),
    "Parquet": (b"PAR1\x15\x04\x15PAR1", "it is Parquet"),
    "UTF-16": (ndjson([ROW]).decode().encode("utf-16"), "it is UTF-16"),
    "UTF-16 without a BOM": (ndjson([ROW]).decode().encode("utf-16-le"), "it is UTF-16"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
    "an error page": (b"<html><body>403</body></html>\n", "it is HTML or XML"),
    "a path": (b"/data/a.ndjson\n", "it looks like a path"),
    "Python": (repr(ROW).encode() + b"\n", "write it with json.dumps"),
    "NaN": (text(id="a", values=[0.5, float("nan"), *VALUES[2:]]), "(id 'a'): values[1] is NaN, which is not JSON"),
    "Infinity": (text(id="a", values=[float("-inf"), *VALUES[1:]]), "values[0] is -Infinity, which is not JSON"),
    "NaN in metadata": (text(id="a", values=VALUES, metadata={"x": float("nan")}), "metadata 'x' is NaN"),
    "nested": (text(id="a", values=[VALUES]), f"values is nested, of shape (1, {DIMENSIONS})"),
    "a dot": (text(**ROW | {"metadata": {"a.b": 1}}), "metadata key 'a.b' has a '.' in it"),
    "a quote": (text(**ROW | {"metadata": {'a"b': 1}}), "has a '\"' in it"),
    "a dollar": (text(**ROW | {"metadata": {"$a": 1}}), "metadata key '$a' starts with '$'"),
    "an empty key": (text(**ROW | {"metadata": {"": 1}}), "a metadata key is empty"),
    "null in metadata": (text(**ROW | {"metadata": {"a": None}}), "drop_nulls=True"),
    "null": (b"null\n", "this is null"),
    "not JSON": (b'{"id": "a", "values": [1, 2, x]}\n', "at character 30"),
}  # fmt: skip


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(("content", "words"), WORDS.values(), ids=WORDS)
def test_an_input_that_is_something_else_is_called_by_its_name(tmp_path, content, words, compact):
    path = tmp_path / "a.ndjson"
    path.write_bytes(content)
    with pytest.raises(VectorizeError) as caught:
        ingest(FakeClient(), "docs", expand(FS, str(path), ""), options=IngestOptions(compact=compact))
    assert isinstance(caught.value, InvalidRecordError | SourceError)
    message = str(caught.value).splitlines()[0]
    assert words in message
    assert message.startswith(f"file://{path}, line 1")
    assert message.count("line 1") == 1
    assert "column" not in message
    assert caught.value.permanent


class Table:
    """Stands for a class of a library that need not be installed."""

    def __iter__(self):
        return iter(["id", "values"])


def table(package, name):
    return type(name, (Table,), {"__module__": f"{package}.core"})()


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (table("pandas", "DataFrame"), 'vectors=df.to_dict("records")'),
        (table("polars", "DataFrame"), "vectors=df.iter_rows(named=True)"),
        (table("pyarrow", "Table"), "vectors=table.to_pylist()"),
        (table("pyarrow", "RecordBatch"), "vectors=batch.to_pylist()"),
        (ROW, r"vectors=[record]"),
        (MappingProxyType(ROW), r"vectors=[record]"),
        (np.zeros((2, DIMENSIONS)), f"numpy array of shape (2, {DIMENSIONS})"),
        (7, "got int"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_table_or_one_mapping_is_refused_with_the_line_that_helps(vectors, words):
    with pytest.raises(SourceError) as caught:
        ingest(FakeClient(), "docs", vectors)
    assert words in str(caught.value)
    assert caught.value.permanent


def nested(depth):
    inner: dict = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


class Angry(Mapping):
    def __getitem__(self, key):
        raise RuntimeError("no item")

    def __iter__(self):
        raise RuntimeError("no keys")

    def __len__(self):
        return 1


HOSTILE = {
    "5,000 digits in a line": b'{"id":"a","values":[1],"metadata":{"n":' + b"1" * 5_000 + b"}}\n",
    "5,000 digits among the values": b'{"id":"a","values":[' + b"1" * 5_000 + b",1" * (DIMENSIONS - 1) + b"]}\n",
    "5,000 digits in a mapping": ROW | {"metadata": {"n": 10**5_000}},
    "5,000 digits as a value": ROW | {"values": [10**5_000, *VALUES[1:]]},
    "5,000 digits as an id": ROW | {"id": 10**5_000},
    "a line 10,000 deep": b'{"id":"a","values":[1],"metadata":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001 + b"\n",
    "a mapping 10,000 deep": ROW | {"metadata": nested(10_000)},
    "a mapping 10,000 deep as an id": ROW | {"id": nested(10_000)},
    "a mapping 10,000 deep beside": ROW | {"other": nested(10_000)},
    "a mapping that raises": ROW | {"metadata": Angry()},
    "a record that raises": Angry(),
    "a lone surrogate": ROW | {"id": "\ud800"},
    "a lone surrogate in metadata": ROW | {"metadata": {"a": "\ud800"}},
    "a masked array": ROW | {"values": np.ma.masked_array(VALUES, [True] + [False] * (DIMENSIONS - 1))},
    "a complex array": ROW | {"values": np.array(VALUES, dtype=complex)},
    "complex numbers": ROW | {"values": [np.complex64(1 + 2j), *VALUES[1:]]},
    "durations": ROW | {"values": [np.timedelta64(1), *VALUES[1:]]},
    "a numpy boolean": ROW | {"values": [np.bool_(True), *VALUES[1:]]},
    "a Decimal in metadata": ROW | {"metadata": {"a": decimal.Decimal(1)}},
    "65 bits in metadata": ROW | {"metadata": {"a": 2**64}},
    "65 bits in the metadata of a line": text(**ROW | {"metadata": {"a": {"b": -(2**63) - 1}}}),
}  # fmt: skip


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("item", HOSTILE.values(), ids=HOSTILE)
def test_no_record_raises_anything_but_an_error_that_names_it(tmp_path, item, compact):
    from tests.ingest.test_refusals import folder

    with pytest.raises(InvalidRecordError, match="vectors, line 2"):
        ingest(FakeClient(), "docs", [record(0), item], options=IngestOptions(compact=compact))
    options = IngestOptions(compact=compact, on_invalid="reject", max_rejects=1)
    report = ingest(FakeClient(), "docs", [record(0), item], options=options, rejects=folder(tmp_path))
    assert report.rejected == 1
    [kept] = (tmp_path / "rejects").iterdir()
    assert json.loads(kept.read_text())["line"] == 2


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        [decimal.Decimal(number).scaleb(-3) for number in range(DIMENSIONS)],
        [decimal.Decimal(number) for number in range(DIMENSIONS)],
        [Fraction(number, 8) for number in range(DIMENSIONS)],
        array.array("f", range(DIMENSIONS)),
        np.arange(DIMENSIONS, dtype=np.longdouble),
        np.array([decimal.Decimal(number) for number in range(DIMENSIONS)]),
        [np.longdouble(number) for number in range(DIMENSIONS)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_other_types_arrive_whatever_they_are(values, compact):
    client = FakeClient()
    ingest(client, "docs", [{"id": "a", "values": values}], options=IngestOptions(compact=compact))
    assert client.vectors["a"]["values"] == pytest.approx([float(value) for value in values], rel=1e-6)


@pytest.mark.parametrize("compact", [True, False])
def test_metadata_may_come_from_numpy(compact):
    client = FakeClient()
    metadata = {
        np.str_("s"): np.str_("x"),
        "b": np.bool_(True),
        "i": np.int64(3),
        "f": np.float32(0.5),
        "l": np.longdouble(0.25),
        "list": np.array(["x", "y"]),
        "tuple": (np.str_("z"),),
        "object": MappingProxyType({"n": np.uint8(1)}),
    }
    item = {"id": np.str_("a"), "values": np.array(VALUES), "namespace": np.str_("n"), "metadata": metadata}
    ingest(client, "docs", [item], options=IngestOptions(compact=compact))
    sent = client.vectors["a"]
    assert sent["namespace"] == "n"
    assert sent["metadata"] == {
        "s": "x", "b": True, "i": 3, "f": 0.5, "l": 0.25, "list": ["x", "y"], "tuple": ["z"], "object": {"n": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        np.repeat(np.arange(DIMENSIONS + 1, dtype="<f4"), 2)[::2],
        np.arange(DIMENSIONS + 1, dtype=">f8"),
        np.arange(DIMENSIONS + 1, dtype=np.longdouble),
        np.ma.masked_array(np.arange(DIMENSIONS, dtype="<f4"), [True] + [False] * (DIMENSIONS - 1)),
        [decimal.Decimal(number) for number in range(DIMENSIONS + 1)],
        array.array("d", range(DIMENSIONS + 1)),
        tuple(range(DIMENSIONS + 1)),
        np.arange(2_000, dtype=">f4"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_rejects_folder_keeps_every_number(tmp_path, values):
    from tests.ingest.test_refusals import folder

    options = IngestOptions(on_invalid="reject", max_rejects=1)
    items = [record(0), {"id": "a", "values": values}]
    ingest(FakeClient(), "docs", items, options=options, rejects=folder(tmp_path))
    [kept] = (tmp_path / "rejects").iterdir()
    numbers = json.loads(kept.read_text())["record"]["values"]
    expected = [None if value is np.ma.masked else float(value) for value in values]
    assert [None if number is None else float(number) for number in numbers] == expected


@pytest.mark.parametrize("compact", [True, False])
def test_nulls_in_metadata_are_left_out_when_asked_for(compact):
    options = IngestOptions(drop_nulls=True, compact=compact)
    metadata = {"a": None, "b": {"c": None, "d": 1}, "e": ["x", None], "f": "null"}
    client = FakeClient()
    ingest(client, "docs", ndjson([record(1, metadata=metadata)]), options=options)
    ingest(client, "docs", [record(2, metadata=metadata)], options=options)
    for sent in client.vectors.values():
        assert sent["metadata"] == {"b": {"d": 1}, "e": ["x"], "f": "null"}
        assert len(sent["values"]) == DIMENSIONS
    assert metadata["a"] is None
    with pytest.raises(InvalidRecordError, match="must be a string, number"):
        ingest(FakeClient(), "docs", [record(2, metadata={"a": float("nan")})], options=options)


@pytest.mark.parametrize("name", [b"\xff.ndjson", b"a\x1b[31m.ndjson", b"a\nb.ndjson", "ü.ndjson".encode()])
def test_a_file_of_any_name_is_loaded_and_named_in_what_can_be_shown(tmp_path, name):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    with open(path, "wb") as stream:  # noqa: PTH123  # pathlib takes no bytes
        stream.write(ndjson([ROW, {"id": "b"}]))
    for found in (expand(FS, path, ""), expand(FS, f"{tmp_path}/*", "")):
        with pytest.raises(InvalidRecordError) as caught:
            ingest(FakeClient(), "docs", found, checkpoint=Store())
        assert caught.value.source.isprintable()
        json.dumps(caught.value.report.to_dict()).encode()
        assert str(caught.value).splitlines()[0].isprintable()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: [],
        lambda state: "text",
        lambda state: {},
        lambda state: state | {"account": None},
        lambda state: state | {"account": {"position": 1}},
        lambda state: state | {"fingerprint": []},
    ],
)
def test_a_checkpoint_of_another_shape_is_not_continued(tmp_path, spoil, caplog):
    path = tmp_path / "a.ndjson"
    path.write_bytes(ndjson([ROW]))
    store = Store()
    ingest(FakeClient(), "docs", [SourceFile(FS, str(path), "a")], checkpoint=store)
    store.state = spoil(store.state)
    assert ingest(FakeClient(), "docs", [SourceFile(FS, str(path), "a")], checkpoint=store).accepted == 1
    assert "starts again" in caplog.text


def test_what_upstream_did_not_return_is_nothing_to_load():
    from airflow_provider_vectorize.operators.common import nothing_returned

    assert isinstance(nothing_returned("vectors"), EmptySourceError)
    assert "the upstream task returned nothing" in str(nothing_returned("vectors"))
