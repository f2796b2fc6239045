"""Making an index what it is declared to be: alone, late, and in a race."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import (
    IndexDriftError,
    IndexExistsError,
    IngestAbortedError,
    MutationTimeoutError,
    VectorizeApiError,
)
from airflow_provider_vectorize.client.types import MetadataIndex
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.index.create import create
from airflow_provider_vectorize.index.declaration import Declaration

DECLARED = Declaration(32, "cosine", metadata_indexes={"lang": "string", "year": "number"})
LISTED = [MetadataIndex("lang", "string"), MetadataIndex("year", "number")]


def line(id_, **metadata):
    return json.dumps({"id": id_, "values": [0.5] * 32, "metadata": metadata}).encode() + b"\n"


def operations(emulator):
    return [row["operation"] for row in emulator.log()]


def test_an_index_that_is_not_there_is_made_with_its_metadata_indexes(emulator, client):
    index, listed = create(client, "docs", DECLARED)
    assert (index.name, index.dimensions, index.metric) == ("docs", 32, "cosine")
    assert (
        sorted(listed) == LISTED if False else sorted(listed, key=lambda each: each.property_name) == LISTED
    )
    client.upsert("docs", line("a", lang="en", year=2026))
    [match] = client.query("docs", [0.5] * 32, filter={"lang": "en", "year": {"$gt": 2025}})
    assert match.id == "a"


def test_repeated_it_changes_nothing(emulator, client):
    create(client, "docs", DECLARED)
    emulator.clear_log()
    create(client, "docs", DECLARED)
    assert operations(emulator) == ["get_index", "index_info", "list_metadata_indexes"]


def test_a_preset(emulator, client):
    index, _ = create(client, "docs", Declaration(preset="@cf/baai/bge-small-en-v1.5"))
    assert index.dimensions == 384


def test_fail_refuses_an_index_that_is_there(emulator, client):
    create(client, "docs", DECLARED, if_exists="fail")
    with pytest.raises(IndexExistsError):
        create(client, "docs", DECLARED, if_exists="fail")


def test_another_index_of_that_name_is_red_and_named(emulator, client):
    emulator.create_index("docs", dimensions=64, metric="euclidean")
    with pytest.raises(
        IndexDriftError, match=r"64 dimensions, declared are 32; its metric is euclidean, declared is"
    ):
        create(client, "docs", DECLARED)
    assert client.list_metadata_indexes("docs") == []


def test_more_than_declared_is_a_warning(emulator, client, caplog):
    create(client, "docs", DECLARED)
    create(client, "docs", Declaration(32, "cosine", metadata_indexes={"lang": "string"}))
    assert "metadata indexes that are not declared: year" in caplog.text


def test_it_waits_until_the_metadata_indexes_are_listed(emulator, client):
    emulator.set_visibility("delay", 0.3)
    _, listed = create(client, "docs", DECLARED, look_seconds=0.05)
    assert len(listed) == 2
    assert operations(emulator).count("list_metadata_indexes") > 2


def test_metadata_indexes_that_are_never_listed_are_named_at_the_deadline(emulator, client):
    emulator.set_visibility("manual")
    with pytest.raises(
        MutationTimeoutError, match=r"indexes lang, year are accepted, and not listed yet after 0.2 s"
    ):
        create(client, "docs", DECLARED, timeout=0.2, look_seconds=0.05)


def test_the_wait_ends_when_told_to_stop(emulator, client):
    emulator.set_visibility("manual")
    stop = threading.Event()
    stop.set()
    with pytest.raises(IngestAbortedError):
        create(client, "docs", DECLARED, stop=stop)


def test_the_name_of_an_index_that_was_deleted_a_moment_ago(client):
    with Emulator(reuse_deleted_name=False, deleted_seconds=0.4) as emulator:
        client = VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)
        create(client, "docs", DECLARED)
        client.delete_index("docs")
        with pytest.raises(MutationTimeoutError, match="cannot be used yet"):
            create(client, "docs", DECLARED, timeout=0.1, look_seconds=0.05)
        create(client, "docs", DECLARED, look_seconds=0.05)


class TestLate:
    @pytest.fixture(autouse=True)
    def held(self, emulator, client):
        create(client, "docs", Declaration(32, "cosine", metadata_indexes={"lang": "string"}))
        client.upsert("docs", line("old", lang="en", year=2020))

    def test_it_is_red_and_says_what_it_means(self, emulator, client):
        with pytest.raises(IndexDriftError) as raised:
            create(client, "docs", DECLARED)
        text = str(raised.value)
        assert "holds 1 vectors and lacks the declared metadata indexes 'year'" in text
        assert "would not find those vectors until they are loaded again (1 uploads" in text
        assert len(client.list_metadata_indexes("docs")) == 1

    def test_create_makes_it_and_warns(self, emulator, client, caplog):
        create(client, "docs", DECLARED, on_late_metadata_index="create")
        assert "holds 1 vectors: a filter on a new metadata index will not find those" in caplog.text
        client.upsert("docs", line("new", lang="en", year=2026))
        assert [m.id for m in client.query("docs", [0.5] * 32, filter={"year": {"$gt": 0}})] == ["new"]

    def test_vectors_that_come_before_it_is_listed_are_warned_of(self, emulator, client, caplog):
        client.delete_by_ids("docs", ["old"])
        emulator.set_visibility("delay", 0.3)
        client.upsert("docs", line("late", year=2026))
        create(client, "docs", DECLARED, look_seconds=0.05)
        assert "holds 1 vectors" in caplog.text


class TestRaces:
    @pytest.mark.parametrize("visibility", [("immediate", 0), ("delay", 0.2)])
    def test_eight_at_once_make_one_index(self, emulator, visibility):
        emulator.set_visibility(*visibility)
        barrier = threading.Barrier(8)

        def one(_):
            client = VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)
            barrier.wait()
            index, listed = create(client, "docs", DECLARED, look_seconds=0.05)
            return index.created_on, len(listed)

        with ThreadPoolExecutor(8) as pool:
            made = set(pool.map(one, range(8)))
        assert len(made) == 1
        assert made.pop()[1] == 2

    def test_eight_at_once_with_fail_make_one_index_and_seven_errors(self, emulator):
        barrier = threading.Barrier(8)

        def one(_):
            client = VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)
            barrier.wait()
            try:
                create(client, "docs", DECLARED, if_exists="fail")
            except IndexExistsError:
                return "exists"
            return "made"

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(one, range(8))) == ["exists"] * 7 + ["made"]

    def test_another_declaration_that_was_faster_is_red(self, emulator, client):
        emulator.create_index("docs", dimensions=32, metric="cosine")
        emulator.set_visibility("delay", 0.2)
        client.create_metadata_index("docs", "year", "string")
        with pytest.raises(IndexDriftError, match="'year' is of type string, declared is number"):
            create(client, "docs", DECLARED, look_seconds=0.05)

    @pytest.mark.parametrize("operation", ["create_index", "create_metadata_index"])
    def test_an_answer_that_is_lost(self, emulator, client, operation):
        client = VectorizeClient(
            emulator.account, emulator.token, base_url=emulator.url, sleep=lambda _: None
        )
        emulator.add_faults([{"operation": operation, "kind": "accept-then-reset"}])
        _, listed = create(client, "docs", DECLARED)
        assert len(listed) == 2
        assert emulator.faults() == []

    def test_a_loader_in_between_is_no_late_metadata_index(self, emulator, client):
        """Another task may create the metadata indexes and load, between two looks of this one."""
        emulator.create_index("docs", dimensions=32, metric="cosine")

        class Between(VectorizeClient):
            def list_metadata_indexes(self, index_name):
                create(client, "docs", DECLARED)
                client.upsert("docs", line("a", year=2026))
                return super().list_metadata_indexes(index_name)

        slow = Between(emulator.account, emulator.token, base_url=emulator.url)
        create(slow, "docs", DECLARED)


def test_a_property_that_the_api_refuses_is_red_at_once(emulator, client):
    with pytest.raises(VectorizeApiError):
        create(client, "docs", Declaration(32, "cosine", metadata_indexes={"x" * 600: "string"}))
