"""What was answered is there after ``kill -9``, in order, and nothing is applied twice."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.emulator.api import Api, vector

BASE = "/client/v4/accounts/a/vectorize/v2/indexes"
HEADERS = {"Authorization": "Bearer token", "Content-Type": "application/x-ndjson"}
IDS = 50
WRITERS = 4


class Process:
    """The command on a file of its own."""

    def __init__(self, data: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "airflow_provider_vectorize.emulator",
            "--port",
            "0",
            "--data",
            str(data),
        ]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        self.url = self.popen.stdout.readline().split()[-1]
        self.api = Api(f"{self.url}/client/v4", "a", "token")

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.popen.kill()
        else:
            self.popen.terminate()
        self.popen.wait(timeout=20)
        self.popen.stdout.close()


class Writer(threading.Thread):
    """Upserts its own few ids over and over with a rising number, until the server dies.

    :param numbers: how many upserts to make at most.
    """

    def __init__(self, url: str, writer: int, numbers: range) -> None:
        super().__init__()
        self._port = int(url.rsplit(":", 1)[1])
        self._writer = writer
        self._numbers = numbers
        self.answered: list[tuple[int, str]] = []

    def name_of(self, number: int) -> str:
        return f"w{self._writer}-{number % IDS}"

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        for number in self._numbers:
            body = json.dumps(vector(self.name_of(number), float(number)))
            try:
                connection.request("POST", f"{BASE}/docs/upsert", body, HEADERS)
                answer = json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException, ValueError):
                break
            self.answered.append((number, answer["result"]["mutationId"]))
        connection.close()


def crash(data: Path, upserts: int, first: int, dice: random.Random) -> int:
    """Write from several connections, kill the server at a random moment, start it again, and check.

    :returns: how many upserts were answered.
    """
    process = Process(data)
    each = upserts // WRITERS
    writers = [Writer(process.url, number, range(first, first + each)) for number in range(WRITERS)]
    moment = dice.randrange(upserts)
    for writer in writers:
        writer.start()
    while sum(len(writer.answered) for writer in writers) < moment:
        time.sleep(0.0005)
    time.sleep(dice.random() * 0.005)
    process.end(kill=True)
    for writer in writers:
        writer.join()

    process = Process(data)
    info = process.api.info("docs")
    seen = 0
    for writer in writers:
        last = {writer.name_of(number): number for number, _ in writer.answered}
        # The one that was on its way may have been logged or not.
        on_its_way = first + len(writer.answered)
        names = list(last) + [name for name in [writer.name_of(on_its_way)] if name not in last]
        found = {}
        for at in range(0, len(names), 20):
            found |= {item["id"]: item["values"][0] for item in process.api.get("docs", *names[at : at + 20])}
        for name, number in last.items():
            assert found[name] in ({number, on_its_way} if writer.name_of(on_its_way) == name else {number})
        seen += len(found) if first == 0 else 0
    if first == 0:
        assert info["vectorCount"] == seen
    assert info["vectorCount"] == process.api.result("GET", "/docs/list?count=1000")["totalCount"]
    mutation = process.api.upsert("docs", vector("after"))
    assert process.api.watermark("docs") == mutation
    process.api.delete("docs", "after")
    process.end()
    return sum(len(writer.answered) for writer in writers)


def crashes(folder: Path, times: int, upserts: int) -> None:
    data = folder / "vectorize.db"
    process = Process(data)
    process.api.create("docs")
    process.end()
    for time_ in range(times):
        answered = crash(data, upserts, time_ * upserts, random.Random(time_))
        print(f"crash {time_ + 1}: {answered} upserts answered, none lost")


def test_a_crash_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    crashes(tmp_path, times=3, upserts=1_000)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_20_crashes_within_10000_upserts_lose_nothing_that_was_answered(tmp_path: Path) -> None:
    crashes(tmp_path, times=20, upserts=10_000)


def test_writes_that_waited_are_applied_in_order_after_a_crash(tmp_path: Path) -> None:
    data = tmp_path / "vectorize.db"
    process = Process(data)
    process.api.create("docs")
    process.api.session.put(f"{process.url}/_emulator/visibility", json={"mode": "manual"}, timeout=10)
    process.api.upsert("docs", vector("a", 1.0), vector("b"))
    process.api.delete("docs", "b")
    process.api.insert("docs", vector("a", 3.0), vector("b", 3.0))
    last = process.api.upsert("docs", vector("a", 2.0))
    process.end(kill=True)

    process = Process(data)
    assert [found["values"][0] for found in process.api.get("docs", "a", "b")] == [2.0, 3.0]
    assert process.api.info("docs")["vectorCount"] == 2
    assert process.api.watermark("docs") == last
    process.end()


def test_everything_is_there_after_an_orderly_stop(tmp_path: Path) -> None:
    data = tmp_path / "vectorize.db"
    process = Process(data)
    process.api.create("docs", metric="euclidean")
    process.api.add_metadata_index("docs", "t")
    process.api.upsert("docs", vector("a", namespace="n", metadata={"t": "x"}))
    before = process.api.result("GET", "/docs"), process.api.info("docs")
    process.end()

    process = Process(data)
    assert (process.api.result("GET", "/docs"), process.api.info("docs")) == before
    assert process.api.get("docs", "a") == [vector("a", namespace="n", metadata={"t": "x"})]
    (match,) = process.api.query("docs", vectorId="a", filter={"t": "x"}, returnMetadata="indexed")
    assert match == {"id": "a", "score": 0.0, "metadata": {"t": "x"}, "namespace": "n"}
    process.end()
