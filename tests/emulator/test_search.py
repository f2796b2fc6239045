"""Exact search against a plain reference, on random data."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.emulator import search
from airflow_provider_vectorize.emulator.settings import METRICS
from tests.emulator.api import Api

DIMENSIONS = 32
numbers = st.floats(-100, 100, width=32).filter(lambda number: number == 0 or abs(number) > 1e-3)
vectors = st.lists(numbers, min_size=DIMENSIONS, max_size=DIMENSIONS)
labels = st.sampled_from(["a", "b", "c"])
records = st.fixed_dictionaries(
    {
        "values": vectors,
        "namespace": st.none() | labels,
        "metadata": st.fixed_dictionaries({"s": labels, "n": st.integers(-3, 3)}),
    }
)
operators = {
    "$eq": lambda value, wanted: value == wanted,
    "$ne": lambda value, wanted: value != wanted,
    "$lt": lambda value, wanted: value < wanted,
    "$lte": lambda value, wanted: value <= wanted,
    "$gt": lambda value, wanted: value > wanted,
    "$gte": lambda value, wanted: value >= wanted,
    "$in": lambda value, wanted: value in wanted,
    "$nin": lambda value, wanted: value not in wanted,
}
comparisons = st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"])


def conditions(operands: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """One operator, or a lower and an upper bound."""
    one = st.dictionaries(comparisons, operands, min_size=1, max_size=1)
    bounds = st.tuples(
        st.sampled_from(["$gt", "$gte"]), operands, st.sampled_from(["$lt", "$lte"]), operands
    ).map(lambda drawn: {drawn[0]: drawn[1], drawn[2]: drawn[3]})
    return one | bounds


lists = st.sampled_from(["$in", "$nin"])
expressions = st.fixed_dictionaries(
    {},
    optional={
        "s": conditions(labels)
        | st.dictionaries(lists, st.lists(labels, max_size=2), min_size=1, max_size=1),
        "n": conditions(st.integers(-3, 3)),
    },
)


def reference_score(metric: str, one: list[float], other: list[float]) -> float:
    """Score in plain Python: no numpy, so that no mistake can be shared."""
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    if metric == "euclidean":
        return math.dist(one, other)
    if metric == "dot-product":
        return -product
    length = math.hypot(*one) * math.hypot(*other)
    return product / length if length else 0.0


def reference_passes(
    record: dict[str, Any], namespace: str | None, expression: dict[str, Any] | None
) -> bool:
    return (namespace is None or record["namespace"] == namespace) and all(
        operators[operator](record["metadata"][name], wanted)
        for name, conditions in (expression or {}).items()
        for operator, wanted in conditions.items()
    )


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.lists(records, min_size=1, max_size=12),
    query=vectors,
    namespace=st.none() | labels,
    expression=st.none() | expressions,
    top_k=st.integers(1, 15),
)
def test_a_query_agrees_with_the_reference(
    api: Api,
    metric: str,
    stored: list[dict[str, Any]],
    query: list[float],
    namespace: str | None,
    expression: dict[str, Any] | None,
    top_k: int,
) -> None:
    if "docs" in [index["name"] for index in api.result("GET")]:
        api.result("DELETE", "/docs")
    api.create(metric=metric)
    api.add_metadata_index("docs", "s", "string")
    api.add_metadata_index("docs", "n", "number")
    by_id = {f"v{number:02}": record for number, record in enumerate(stored)}
    api.upsert("docs", *({"id": name, **record} for name, record in by_id.items()))

    matches = api.query("docs", vector=query, topK=top_k, namespace=namespace, filter=expression)

    scores = {
        name: reference_score(metric, query, record["values"])
        for name, record in by_id.items()
        if reference_passes(record, namespace, expression)
    }
    best = sorted(scores.values(), reverse=metric == "cosine")[:top_k]
    # Compared by scores and not by ids, since near ties may come in any order.
    assert [match["score"] for match in matches] == pytest.approx(best, rel=1e-6, abs=1e-6)
    assert len({match["id"] for match in matches}) == len(matches)
    for match in matches:
        assert match["score"] == pytest.approx(scores[match["id"]], rel=1e-6, abs=1e-6)


@given(st.lists(vectors, max_size=5))
def test_matrix_reads_what_was_stored(rows: list[list[float]]) -> None:
    stored = [struct.pack(f"<{DIMENSIONS}f", *row) for row in rows]
    assert search.matrix(stored, DIMENSIONS).tolist() == rows


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_of_rows_score_as_one(metric: str) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(9_000, DIMENSIONS)).astype(np.float32)
    query = random.normal(size=DIMENSIONS).tolist()
    whole = search.scores(metric, rows, query)
    parts = [search.scores(metric, rows[[row]], query)[0] for row in (0, 4_095, 4_096, 8_999)]
    assert whole[[0, 4_095, 4_096, 8_999]] == pytest.approx(parts)


def test_rows_that_score_the_same_come_in_order() -> None:
    rows = np.ones((5, DIMENSIONS), dtype=np.float32)
    assert [hit.row for hit in search.nearest("cosine", rows, [1.0] * DIMENSIONS, None, 3)] == [0, 1, 2]
    assert [hit.row for hit in search.nearest("euclidean", rows, [1.0] * DIMENSIONS, [4, 2], 3)] == [4, 2]
