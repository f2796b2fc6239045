"""Metadata filters, over the wire and as pure functions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_vectorize.emulator import filters
from tests.emulator.api import Api, vector

DOCUMENTS: dict[str, dict[str, Any]] = {
    "net": {"s": "netflix", "n": 10, "b": True},
    "hbo": {"s": "hbo", "n": 2.5, "b": False},
    "neu": {"s": "neu", "n": -3, "b": True},
    "deep": {"in": {"s": "netflix"}},
    "odd": {"s": 7, "n": "10", "b": "true"},
    "list": {"s": ["netflix"], "n": {"x": 1}},
    "none": {},
}


@pytest.fixture
def films(docs: Api) -> Api:
    for name, kind in (("s", "string"), ("n", "number"), ("b", "boolean"), ("in.s", "string")):
        docs.add_metadata_index("docs", name, kind)
    docs.upsert("docs", *(vector(name, metadata=metadata) for name, metadata in DOCUMENTS.items()))
    return docs


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ({}, set(DOCUMENTS)),
        ({"s": "netflix"}, {"net"}),
        ({"s": {"$eq": "netflix"}}, {"net"}),
        ({"s": {"$ne": "netflix"}}, {"hbo", "neu", "odd"}),
        ({"s": {"$in": ["hbo", "neu"]}}, {"hbo", "neu"}),
        ({"s": {"$in": []}}, set()),
        ({"s": {"$nin": ["hbo", "neu"]}}, {"net", "odd"}),
        ({"n": 10}, {"net"}),
        ({"n": 10.0}, {"net"}),
        ({"n": "10"}, set()),
        ({"n": {"$ne": 10}}, {"hbo", "neu"}),
        ({"n": {"$lt": 2.5}}, {"neu"}),
        ({"n": {"$lte": 2.5}}, {"neu", "hbo"}),
        ({"n": {"$gt": 2.5}}, {"net"}),
        ({"n": {"$gte": 2.5}}, {"net", "hbo"}),
        ({"n": {"$gt": -3, "$lt": 10}}, {"hbo"}),
        ({"n": {"$gt": "a"}}, set()),
        ({"s": {"$gte": "ne", "$lt": "nf"}}, {"net", "neu"}),
        ({"b": True}, {"net", "neu"}),
        ({"b": {"$ne": True}}, {"hbo"}),
        ({"b": 1}, set()),
        ({"n": {"$in": [True, 10]}}, {"net"}),
        ({"b": {"$gt": False}}, set()),
        ({"s": None}, set()),
        ({"s": {"$eq": None}}, set()),
        ({"s": {"$ne": None}}, set(DOCUMENTS)),
        ({"n": {"$ne": None}}, set(DOCUMENTS)),
        ({"s": {"$in": [None, "netflix"]}}, {"net"}),
        ({"s": {"$nin": [None]}}, set(DOCUMENTS)),
        ({"s": {"$nin": [None, "netflix"]}}, {"hbo", "neu", "odd"}),
        ({"t": {"$ne": None}}, set()),
        ({"n": {"$gt": "2.5"}}, {"net"}),
        ({"n": {"$gte": "2.5", "$lt": 10}}, {"hbo"}),
        ({"n": {"$gt": "true"}}, set()),
        ({"s": 7}, {"odd"}),
        ({"s": {"$in": ["netflix", 7, None]}}, {"net", "odd"}),
        ({"s": {"$gt": 6}}, {"odd"}),
        ({"s": {"$gt": "a"}}, {"net", "hbo", "neu"}),
        ({"in.s": "netflix"}, {"deep"}),
        ({"s": "netflix", "n": 10}, {"net"}),
        ({"s": "netflix", "n": 2.5}, set()),
        ({"t": "x"}, set()),
        ({"t": {"$ne": "x"}}, set()),
    ],
)
def test_a_filter_finds(films: Api, expression: dict[str, Any], found: set[str]) -> None:
    matches = films.query("docs", vector=vector("")["values"], filter=expression, topK=20)
    assert {match["id"] for match in matches} == found


@pytest.mark.parametrize(
    "expression",
    [
        [], "s", 7, True, {"s": {}}, {"s": {"$or": ["a"]}}, {"s": {"eq": "a"}}, {"s": ["a"]}, {"s": {"$in": "a"}},
        {"s": {"$in": [["a"]]}}, {"s": {"$eq": {}}}, {"s": {"$gt": []}}, {"$or": [{"s": "a"}]}, {"": 1}, {'a"b': 1},
        {"k" * 513: 1}, json.loads('{"a":' * 300 + "1" + "}" * 300),
        {"n": {"$gt": None}}, {"n": {"$lte": None}}, {"n": {"$gt": 1, "$gte": 2}}, {"n": {"$lt": 1, "$lte": 2}},
        {"n": {"$eq": 1, "$ne": 2}}, {"n": {"$gt": 1, "$eq": 2}}, {"n": {"$gt": 1, "$lt": 3, "$lte": 2}},
        {"s": "x" * 2_048}, {"a": {"$in": ["x" * 90] * 22}},
    ],
)  # fmt: skip
def test_a_bad_filter_is_refused(films: Api, expression: Any) -> None:
    assert films.refused("POST", "/docs/query", json={"vectorId": "net", "filter": expression})[0] == 400


def test_a_filter_may_have_2047_bytes_and_a_key_512_characters(films: Api) -> None:
    longest = "x" * (2_047 - len('{"s":""}'))
    assert films.query("docs", vectorId="net", filter={"s": longest}) == []
    too_long = {"vectorId": "net", "filter": {"s": longest + "x"}}
    assert films.refused("POST", "/docs/query", json=too_long)[0] == 400
    assert films.query("docs", vectorId="net", filter={"k" * 512: 1}) == []


def test_strings_are_compared_by_their_first_64_bytes(films: Api) -> None:
    films.upsert("docs", vector("long", metadata={"s": "y" * 64 + "1"}))
    matches = films.query("docs", vectorId="long", filter={"s": "y" * 64 + "2"})
    assert [match["id"] for match in matches] == ["long"]


def test_a_vector_older_than_the_index_of_a_property_is_not_found_by_it(docs: Api) -> None:
    docs.upsert("docs", vector("old"))
    docs.add_metadata_index("docs", "s")
    docs.upsert("docs", vector("new"))
    matches = docs.query("docs", vectorId="old", filter={"s": {"$ne": None}})
    assert [match["id"] for match in matches] == ["new"]


def test_cut_never_ends_inside_a_character() -> None:
    assert filters.cut("a" + "é" * 40) == "a" + "é" * 31
    assert filters.cut("short") == "short"
