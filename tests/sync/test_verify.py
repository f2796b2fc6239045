"""Reading back: what is missing or differs is named, what lags is read again, and a clean index is green."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from airflow_provider_vectorize.client.errors import InvalidArgumentError, VerificationError
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.ingest import IngestOptions, ingest
from airflow_provider_vectorize.sync import verify as module
from airflow_provider_vectorize.sync.expected import Everything, Sample, Witness, parts
from airflow_provider_vectorize.sync.verify import expecting, read, verify
from tests.ingest.helpers import DIMENSIONS
from tests.sync.helpers import INDEX, client_of, vector, vectors

OPTIONS = IngestOptions(on_invalid="reject", max_rejects=10)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", (0.0, 0.0))


@pytest.fixture
def emulator():
    with Emulator() as running:
        running.create_index(INDEX, dimensions=DIMENSIONS)
        yield running


@pytest.fixture
def client(emulator):
    return client_of(emulator)


def names(count):
    return [f"doc-{number:04}" for number in range(count)]


def verified(client, records, how="all", sample=1000, **options):
    with expecting(how, sample, ids=options.get("ids", False)) as expected:
        read(records, expected, dimensions=DIMENSIONS, options=OPTIONS)
        return verify(client, INDEX, expected, requests_per_minute=12_000, **options)


@pytest.mark.parametrize("how", ["sample", "all"])
def test_a_load_without_damage_is_green(client, how, caplog):
    caplog.set_level("INFO")
    source = [
        *vectors(*names(300)),
        vector("doc-0007", 3, namespace="n", metadata={"a": [1.0, "x"][1], "b": 2}),
    ]
    ingest(client, INDEX, source, options=OPTIONS)
    report = verified(client, source, how, sample=50)
    assert report.different == 0
    assert report.checked == (50 if how == "sample" else 300)
    assert "Index 'docs' holds what the source says" in caplog.text
    if how == "sample":
        assert report.found_from == pytest.approx(1 - 0.01 ** (1 / 50))
        assert "Damage to 8.80% of them or more" in caplog.text


def test_vectors_that_were_lost_are_named(emulator, client):
    emulator.add_faults([{"operation": "upsert", "kind": "drop", "share": 0.001}])
    source = vectors(*names(1500))
    ingest(client, INDEX, source, options=OPTIONS)
    stored = set(client.list_vectors(INDEX))
    with pytest.raises(VerificationError) as failed:
        verified(client, source)
    lost = set(names(1500)) - stored
    assert len(lost) == 2
    assert {record_id for record_id, what in failed.value.report.differences if what == "missing"} == lost
    assert all(repr(each) in str(failed.value) for each in lost)


def test_a_value_that_was_stored_otherwise_is_named(emulator, client):
    emulator.add_faults([{"operation": "upsert", "kind": "corrupt"}])
    source = vectors(*names(100))
    ingest(client, INDEX, source, options=OPTIONS)
    with pytest.raises(VerificationError, match=r"'doc-\d{4}': values differ"):
        verified(client, source, "sample")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"namespace": "n"}, "namespace differ"),
        ({"metadata": {"a": 1}}, "metadata differ"),
        ({"metadata": {"a": 1}, "namespace": "n"}, "namespace and metadata differ"),
    ],
)
def test_what_differs_is_said(client, change, what):
    ingest(client, INDEX, vectors("a", "b"), options=OPTIONS)
    with pytest.raises(VerificationError, match=f"'a': {what}"):
        verified(client, [vector("a", **change), vector("b")])


def test_id_sets_are_compared_under_a_prefix(client):
    ingest(client, INDEX, vectors("a/1", "a/2", "a/3", "b/1"), options=OPTIONS)
    source = vectors("a/1", "a/2", "a/4")
    with pytest.raises(VerificationError) as failed:
        verified(client, source, ids=True, id_prefix="a/")
    assert set(failed.value.report.differences) == {("a/4", "missing"), ("a/3", "extra")}
    assert failed.value.report.extra == 1
    assert verified(client, vectors("a/1", "a/2", "a/3", "b/1"), ids=True).extra == 0


def test_reads_that_lag_are_read_again(emulator, client, monkeypatch):
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", (0.0, 0.3, 1.5))
    emulator.set_visibility("delay", 1.0)
    ingest(client, INDEX, vectors(*names(30)), options=OPTIONS)
    assert verified(client, vectors(*names(30))).different == 0


def test_a_witness_of_a_load_knows_what_was_accepted(emulator, client):
    source = [*vectors(*names(20)), {"id": "doc-0003", "values": [1.0]}, vector("doc-0004", 7)]
    with Everything() as expected:
        ingest(client, INDEX, iter(source), options=OPTIONS, follower=Witness(expected))
        assert len(expected) == 19  # what is in the index under the id of a refused record is not known
        verify(client, INDEX, expected, requests_per_minute=12_000)


def test_a_sample_has_every_record_as_often_as_another_and_its_last_version():
    counts: Counter[str] = Counter()
    source = [vector(name, version) for version in (0, 1) for name in names(20)]
    for _ in range(400):
        sample = Sample(5)
        for record in source:
            sample(record["id"], record)
        assert len(sample) == 5
        for name, mark in sample.items():
            assert mark == parts(vector(name, 1))
            counts[name] += 1
    assert len(counts) == 20
    # 100 are expected of each, with a deviation of 9.
    assert min(counts.values()) > 50
    assert max(counts.values()) < 160


@pytest.mark.parametrize("seed", range(4))
def test_a_sample_is_as_fair_whatever_python_hashes_by(seed):
    code = (
        "from collections import Counter\n"
        "from airflow_provider_vectorize.sync.expected import Sample\n"
        "counts = Counter()\n"
        "for _ in range(2000):\n"
        "    sample = Sample(5)\n"
        "    for number in range(20):\n"
        "        sample(f'n{number}', b'')\n"
        "    counts.update(name for name, _ in sample.items())\n"
        "print(*counts.values())\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": str(seed)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    counts = [int(each) for each in done.stdout.split()]
    assert len(counts) == 20
    # 500 are expected of each, with a deviation of 19.
    assert min(counts) > 380
    assert max(counts) < 620


@pytest.mark.parametrize("wrong", [("some", 10), ("sample", 0), ("sample", True), ("none", 10)])
def test_options_that_can_never_work(wrong):
    with pytest.raises(InvalidArgumentError, match="verify"):
        expecting(*wrong)
