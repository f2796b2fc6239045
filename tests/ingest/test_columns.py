"""Which column is which field, for lines and mappings."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.ingest.columns import Columns
from airflow_provider_vectorize.ingest.lines import START
from airflow_provider_vectorize.ingest.tables import mapped

ROW = {"doc_id": "a", "embedding": [1.0], "tenant": "t", "title": "T", "lang": "en", "n": 7}
ID = {"id": "doc_id", "values": "embedding"}


@pytest.mark.parametrize(
    ("columns", "record"),
    [
        ({}, {"id": "i", "values": [1.0], "namespace": "ns", "metadata": {"m": 1}}),
        (
            {"metadata": "*"},
            {"id": "i", "values": [1.0], "namespace": "ns", "metadata": {"metadata": {"m": 1}, "x": 2}},
        ),
    ],
)
def test_what_is_left_out_is_the_column_of_its_own_name(columns, record):
    row = {"id": "i", "values": [1.0], "namespace": "ns", "metadata": {"m": 1}, "x": 2}
    assert Columns(columns).record(row) == record


@pytest.mark.parametrize(
    ("columns", "record"),
    [
        (ID, {"id": "a", "values": [1.0]}),
        (ID | {"namespace": "tenant"}, {"id": "a", "values": [1.0], "namespace": "t"}),
        (
            ID | {"metadata": ["title", "lang"]},
            {"id": "a", "values": [1.0], "metadata": {"title": "T", "lang": "en"}},
        ),
        (ID | {"metadata": {"t": "title"}}, {"id": "a", "values": [1.0], "metadata": {"t": "T"}}),
        (ID | {"metadata": []}, {"id": "a", "values": [1.0], "metadata": {}}),
        (
            ID | {"metadata": "*", "namespace": "tenant"},
            {"id": "a", "values": [1.0], "namespace": "t", "metadata": {"title": "T", "lang": "en", "n": 7}},
        ),
        ({"id": ["tenant", "n"], "values": "embedding"}, {"id": "t:7", "values": [1.0]}),
        ({"id": "n", "values": "embedding"}, {"id": "7", "values": [1.0]}),
    ],
)
def test_columns_of_other_names(columns, record):
    assert Columns(columns).record(ROW) == record


def test_an_id_that_is_a_hash_stays_the_same():
    made = Columns({"id": {"hash": ["tenant", "n"]}, "values": "embedding"}).record(ROW)["id"]
    assert made == hashlib.sha256(b'["t",7]').hexdigest()[:32]
    assert len(made) == 32


def test_times_are_text():
    row = ROW | {"at": datetime(2026, 1, 2, tzinfo=UTC)}
    assert Columns(ID | {"metadata": ["at"]}).record(row)["metadata"] == {"at": "2026-01-02T00:00:00+00:00"}


def test_null_is_left_to_the_checks_and_what_is_missing_is_left_out():
    columns = Columns(ID | {"metadata": ["title", "lang"], "namespace": "tenant"})
    assert columns.record({"doc_id": "a", "tenant": None, "title": None}) == {
        "id": "a",
        "metadata": {"title": None},
    }


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (["id"], "columns must be a mapping"),
        ({"vector": "e"}, "unknown field 'vector'; a record has id, values, namespace, metadata"),
        ({"values": ["a"]}, r"columns, values: the name of a column is expected, got \['a'\]"),
        ({"id": []}, "columns, id: a column or a list of columns is expected"),
        ({"id": {"hash": "a"}}, "columns, id, hash: a column or a list"),
        ({"id": {"md5": ["a"]}}, "columns, id: a column or a list"),
        ({"metadata": "title"}, "columns, metadata: a column or a list of columns is expected, got 'title'"),
        ({"metadata": [1]}, "columns, metadata: the name of a column is expected, got 1"),
    ],
)
def test_what_cannot_be(columns, says):
    with pytest.raises(InvalidArgumentError, match=says):
        Columns(columns)


class TestInAnInput:
    def read(self, records, columns):
        return [item.data for item in mapped(records, columns).read(START, lambda: None)]

    @pytest.mark.parametrize(
        "records",
        [
            '{"doc_id": "a", "embedding": [1.0], "x": 1}\n',
            b'{"doc_id": "a", "embedding": [1.0], "x": 1}\n',
            [{"doc_id": "a", "embedding": [1.0], "x": 1}],
            (b'{"doc_id": "a", "embedding": [1.0], "x": 1}' for _ in range(1)),
        ],
    )
    def test_every_way_in(self, records):
        assert self.read(records, ID) == [{"id": "a", "values": [1.0]}]

    def test_a_column_that_is_not_there_is_red_with_those_that_are(self):
        with pytest.raises(
            InvalidArgumentError, match=r"there is no column 'vec', 'lang'; there are 'doc_id', 'e'"
        ):
            self.read([{"doc_id": "a", "e": [1.0]}], {"id": "doc_id", "values": "vec", "metadata": ["lang"]})

    def test_what_is_no_mapping_is_left_to_the_checks(self):
        assert self.read(b'nonsense\n{"doc_id": "a", "embedding": [1.0]}\n', ID) == [
            b"nonsense\n",
            {"id": "a", "values": [1.0]},
        ]

    def test_a_line_of_a_rejects_folder_holds_a_record_as_it_is_loaded(self):
        line = b'{"source": "s", "line": 1, "record": {"id": "a", "values": [1.0]}}\n'
        assert self.read(line, ID) == [line]
