"""What a filter may say: each rule by its name, and nothing sent that the API would refuse."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.emulator import filters as emulated
from airflow_provider_vectorize.index.filters import check_filter


@pytest.mark.parametrize(
    "good",
    [
        {"lang": "en"},
        {"lang": None, "draft": False, "year": 2026, "score": 0.5},
        {"a.b": "nested"},
        {"lang": {"$eq": "en"}},
        {"lang": {"$ne": None}},
        {"lang": {"$in": ["en", None, 1, True]}},
        {"lang": {"$nin": ("en",)}},
        {"year": {"$gte": 2020, "$lt": 2030}},
        {"year": {"$gt": 2020}},
        {"name": {"$gte": "a", "$lt": "b"}},
        {"k" * 512: 1},
    ],
)
def test_what_is_allowed(good):
    assert check_filter(good) is good


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("lang = 'en'", "must be an object, got \"lang = 'en'\""),
        ([], "must be an object"),
        ({}, "must not be empty"),
        ({"": 1}, "'' is not the name of a property"),
        ({1: 1}, "1 is not the name of a property"),
        ({"$or": [{"a": 1}, {"b": 2}]}, r"'\$or' stands where a property is expected.*no \"or\""),
        ({'a"b': 1}, "has a '\"' or an empty part"),
        ({"a..b": 1}, "has a '\"' or an empty part"),
        ({"k" * 513: 1}, "513 characters, at most 512"),
        ({"a": {}}, "'a': the object of operators is empty"),
        ({"a": {"$regex": "x"}}, r"'\$regex' is no operator; known are \$eq"),
        ({"a": {"b": 1}}, "'b' is no operator.*named by a '.'"),
        ({"a": ["x"]}, r"'a': a string, a number, a boolean or null is expected, got \['x'\]"),
        ({"a": {"$eq": {}}}, r"'a', \$eq: a string, a number"),
        ({"a": {"$in": "x"}}, r"\$in: a list that is not empty is expected, got 'x'"),
        ({"a": {"$in": []}}, r"\$in: a list that is not empty"),
        ({"a": {"$nin": [["x"]]}}, r"\$nin: a string, a number"),
        ({"a": {"$gt": None}}, r"\$gt: a number or a string is expected, got None"),
        ({"a": {"$lte": True}}, r"\$lte: a number or a string is expected, got True"),
        (
            {"a": {"$gt": 1, "$gte": 2}},
            r"only one lower \(\$gt, \$gte\) and one upper bound .* got \$gt, \$gte",
        ),
        ({"a": {"$gt": 1, "$ne": 2}}, "only one lower"),
        ({"a": {"$eq": 1, "$ne": 2}}, "only one lower"),
        ({"a": {"$gt": 1, "$lt": 3, "$ne": 2}}, "only one lower"),
        ({"a": float("nan")}, "nan is not a number that JSON knows"),
        ({"a": {"$lt": float("inf")}}, "inf is not a number"),
        ({"a": "\udc80"}, "cannot be written as JSON"),
        ({"a": 2**70}, "cannot be written as JSON"),
        ({"a": "x" * 2048}, "takes 2056 bytes as compact JSON, it must be less than 2048"),
    ],
)
def test_what_is_refused_and_why(bad, says):
    with pytest.raises(InvalidArgumentError, match=says):
        check_filter(bad)


def test_the_size_is_that_of_compact_json_in_bytes():
    check_filter({"a": "é" * 1019})
    with pytest.raises(InvalidArgumentError, match="takes 2048 bytes"):
        check_filter({"a": "é" * 1020})


scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=20)
operators = st.sampled_from(["$eq", "$ne", "$in", "$nin", "$lt", "$lte", "$gt", "$gte", "$not", "x"])
operands = scalars | st.lists(scalars, max_size=3)
expressions = st.dictionaries(
    st.text('ab.$"', max_size=4), operands | st.dictionaries(operators, operands, max_size=3), max_size=3
)


@given(expressions)
@settings(deadline=None)
def test_what_passes_the_emulator_takes(expression):
    try:
        check_filter(expression)
    except InvalidArgumentError:
        return
    emulated.parse(expression)
