"""A plan: what it foretells is what the emulator then counts, and what the account will be asked for."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError, SourceError
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.ingest import IngestOptions, ingest
from airflow_provider_vectorize.sync.plan import Plan, plan
from tests.ingest.helpers import DIMENSIONS, ndjson, record, records, source_file


def twice(count):
    return [*records(count), *records(count // 2)]


FIXTURES = {
    "plain": (records(1_234), {}),
    "by count": (records(1_234), {"max_batch_vectors": 100}),
    "by bytes, as they are": (records(500), {"max_batch_bytes": 20_000, "compact": False}),
    "ids again, a namespace": (twice(300), {"max_batch_vectors": 70, "namespace": "tenant"}),
    "invalid ones, the last too": (
        [*records(100), {"id": "x"}, {"id": "y", "values": [1.0]}, *({"id": str(n)} for n in range(40))],
        {"max_batch_vectors": 40, "on_invalid": "reject", "max_rejects": 100},
    ),
}


@pytest.mark.parametrize(("items", "options"), FIXTURES.values(), ids=FIXTURES)
def test_requests_and_bytes_are_what_the_emulator_then_counts(tmp_path, items, options):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(items))
    chosen = IngestOptions(**options)
    planned = plan([source_file(path)], dimensions=DIMENSIONS, options=chosen)
    with Emulator() as emulator:
        emulator.create_index("docs", dimensions=DIMENSIONS)
        client = VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)
        report = ingest(client, "docs", [source_file(path)], options=chosen)
        counted = emulator.stats()["upsert"]
        stored = client.index_info("docs").vector_count
    assert (planned.requests, planned.bytes_sent) == (counted["requests"], counted["bytes"])
    assert (planned.requests, planned.bytes_sent) == (report.batches, report.bytes_sent)
    assert planned.bytes_read == report.bytes_read
    assert planned.records == len(items) == report.accepted + report.rejected + report.superseded
    assert sum(planned.invalid.values()) == report.rejected
    assert planned.stored == stored


def test_the_numbers_of_the_published_formula():
    figures = Plan(dimensions=768, records=1_000_000, requests=480)
    assert figures.stored_dimensions == 768_000_000
    assert figures.quota_minutes == 2.0
    assert figures.price_per_month == pytest.approx(7.68 + 0.384)
    assert figures.to_dict()["price_per_month"] == 8.064


def test_invalid_records_are_counted_by_their_rule_and_ids_that_come_again():
    items = [
        record(1),
        record(1),
        record(2),
        {"id": "a"},
        {"values": [1.0] * DIMENSIONS},
        {"id": "b", "values": []},
    ]
    found = plan(items, dimensions=DIMENSIONS).to_dict()
    assert found["records"] == 6
    assert found["invalid"] == {"invalid_values": 1, "invalid_id": 1, "wrong_dimensions": 1}
    assert found["duplicates"] == 1
    assert found["stored_dimensions"] == 2 * DIMENSIONS
    json.dumps(found)


def test_the_table_names_every_figure():
    table = str(plan([record(1), {"id": "a"}], dimensions=DIMENSIONS))
    for word in ("records", "invalid_values", "duplicate ids", "requests", "minutes of quota", "$ a month"):
        assert word in table


def test_nothing_to_read_costs_nothing():
    assert (
        plan([], dimensions=DIMENSIONS).to_dict() | {"price_per_month": 0.0}
        == plan([], dimensions=32).to_dict()
    )


def test_a_source_that_breaks_off_is_no_plan(tmp_path):
    def broken():
        yield record(1)
        raise ValueError("gone")

    with pytest.raises(SourceError, match="broke off"):
        plan(broken(), dimensions=DIMENSIONS)


@pytest.mark.parametrize("wrong", [31, 1537, "768", True])
def test_dimensions_are_checked(wrong):
    with pytest.raises(InvalidArgumentError, match="from 32 to 1536"):
        plan([], dimensions=wrong)


def test_many_ids_are_counted_right():
    draw = random.Random(1)
    ids = [str(draw.randint(0, 3_000)) for _ in range(5_000)]
    values = np.ones(DIMENSIONS, np.float32)
    found = plan([{"id": each, "values": values} for each in ids], dimensions=DIMENSIONS)
    assert found.duplicates == len(ids) - len(set(ids))
