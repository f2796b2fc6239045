"""The load against the emulator: real refusals, and a process that is killed."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import IngestAbortedError
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.ending import Ending
from airflow_provider_vectorize.ingest import IngestOptions, ingest
from airflow_provider_vectorize.ingest.chunks import Chunker
from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.ingest.refusals import Delivery
from airflow_provider_vectorize.ingest.sources import Item, Position
from tests.ingest.helpers import DIMENSIONS, ndjson, record, records


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        running.create_index("docs", dimensions=DIMENSIONS)
        yield running


def client_of(emulator: Emulator) -> VectorizeClient:
    return VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)


def stored(emulator: Emulator) -> set[str]:
    return set(client_of(emulator).list_vectors("docs"))


REFUSED = {
    "40008": record(50, id="x" * 65),
    "40009": record(50, namespace="x" * 65),
    "40012": record(50, values=[1.0]),
    "40016": record(50, metadata={"k": "x" * 20_000}),
    "40018": record(50, metadata={"a.b": 1}),
    "40023": record(50, values="none"),
}


@pytest.mark.parametrize(("code", "bad"), REFUSED.items(), ids=REFUSED)
def test_what_the_api_refuses_is_found_by_its_own_messages_and_the_rest_is_accepted(emulator, code, bad):
    items = [*records(50), bad, *(record(number) for number in range(51, 100))]
    chunker = Chunker(max_vectors=5_000, max_bytes=10_000_000, keep="last")
    for line, item in enumerate(items):
        place = Item(None, Position(0, line), Position(0, line + 1))
        chunker.add(Record(item["id"], ndjson([item])), place)
    client = client_of(emulator)
    options = IngestOptions(on_invalid="reject", max_rejects=1)

    def send(chunk, entries):
        return client.upsert("docs", chunk.body(entries))

    delivery = Delivery(send, ["in"], options, False, Ending())
    outcome = delivery.deliver(chunker.flush())
    assert outcome.error is None
    assert [(reject.line, reject.code) for reject in outcome.rejects] == [(51, code)]
    assert stored(emulator) == {item["id"] for item in items if item is not bad}
    assert len(emulator.log()) - 1 <= 1 + 2 * 7


LOAD = """
import json, pathlib, sys, time
import fsspec
from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.ingest import IngestOptions, RejectsFolder, SourceFile, ingest

url, account, source, state = sys.argv[1:]
files = fsspec.filesystem("file")

class Store:
    path = pathlib.Path(state)
    def load(self):
        return json.loads(self.path.read_text()) if self.path.exists() else None
    def save(self, state):
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(state))
        fresh.rename(self.path)

def progress(report):
    print(report.batches, flush=True)
    time.sleep(0.01)

report = ingest(
    VectorizeClient(account, "t" * 40, base_url=url),
    "docs",
    [SourceFile(files, source, source)],
    options=IngestOptions(
        max_batch_vectors=25, max_in_flight=4, on_invalid="reject", max_rejects=1_000,
    ),
    rejects=RejectsFolder(files, state + ".rejects", "rejects"),
    checkpoint=Store(),
    progress=progress,
)
print(json.dumps(report.to_dict()))
"""


@pytest.mark.parametrize("name", ["in.ndjson", "in.ndjson.gz"])
def test_a_process_killed_amid_40_chunks_goes_on_and_sends_at_most_max_in_flight_chunks_twice(
    emulator, tmp_path, name
):
    items = [record(number) if number % 50 else record(number, values=[]) for number in range(1_020)]
    source = tmp_path / name
    source.write_bytes(gzip.compress(ndjson(items)) if name.endswith(".gz") else ndjson(items))
    command = [
        sys.executable,
        "-c",
        LOAD,
        emulator.url,
        emulator.account,
        str(source),
        str(tmp_path / "state"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "state").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(again.stdout.splitlines()[-1])
    assert report["resumed_from"] is not None
    assert (report["accepted"], report["rejected"], report["batches"]) == (999, 21, 40)
    assert stored(emulator) == {item["id"] for item in items if item["values"]}
    writes = [row for row in emulator.log() if row["operation"] == "upsert"]
    assert 40 <= len(writes) <= 40 + 4
    rejected = [
        json.loads(line)["id"]
        for path in Path(f"{tmp_path}/state.rejects").iterdir()
        for line in path.read_bytes().splitlines()
    ]
    assert sorted(rejected) == sorted(item["id"] for item in items if not item["values"])


def test_records_of_a_generator_that_stalls_are_in_the_index_after_flush_seconds(emulator):
    seen, looking = threading.Event(), client_of(emulator)

    def source():
        yield from records(10)
        assert seen.wait(30)
        yield record(10)

    def look():
        while looking.index_info("docs").vector_count < 10:
            time.sleep(0.02)
        seen.set()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    report = ingest(client_of(emulator), "docs", source(), options=IngestOptions(flush_seconds=0.2))
    watcher.join(30)
    assert (report.accepted, report.batches) == (11, 2)
    assert [row["mutation_id"] for row in emulator.log() if row["operation"] == "upsert"][
        -1
    ] == report.mutation_id


SLOWLY = """
import sys, time
from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.ingest import IngestOptions, ingest

url, account, dimensions = sys.argv[1:]

def embed():
    begun = time.monotonic()
    for number in range(10_000):
        time.sleep(max(0, begun + number / 300 - time.monotonic()))
        print(number, flush=True)
        yield {"id": f"id-{number}", "values": [1.0] * int(dimensions)}

client = VectorizeClient(account, "t" * 40, base_url=url)
ingest(client, "docs", embed(), options=IngestOptions(flush_seconds=1))
"""


def test_of_600_vectors_of_a_slow_generator_250_outlive_a_kill(emulator):
    """30 times as fast as with the default: killed after 60 s at 10 vectors a second, 25 s of it are there."""
    command = [sys.executable, "-c", SLOWLY, emulator.url, emulator.account, str(DIMENSIONS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 600:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert len(stored(emulator)) >= 250


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_stop_while_the_index_is_asked_for_is_said_as_one(emulator, when):
    stop = threading.Event()
    if when == "before":
        stop.set()
    else:
        emulator.add_faults([{"operation": "get_index", "kind": "hang", "seconds": 60}])
        threading.Timer(0.5, stop.set).start()
    with pytest.raises(IngestAbortedError, match="told to stop"):
        ingest(client_of(emulator), "docs", records(3), stop=stop)
