"""Thirty hard minutes: one disaster after another, in a random order, on a real Airflow. Run by ``make hard-days``.

After each the load has ended, and is judged by what the index holds: green only if every record of the source that was
not refused is there, with its values; red only where the disaster allows it. The processes are measured before each.
The table goes to standard output, and with ``--write`` into docs/hard-days.md; the last line says how it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
import requests

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import VectorizeError
from tests.real.live import Airflow, Run, wait_until

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "hard-days.md"
INDEX, DIMENSIONS, ACCOUNT, CONN_ID = "docs", 32, "0123456789abcdef0123456789abcdef", "vectorize_default"
RECORDS, BAD = 400, 4
#: So that a source is longer than what is read of it ahead.
PADDING = {"text": "x" * 4_000}
#: Bytes a second of an upload.
SLOW = 100_000
#: Seconds by which the clock is wrong; below the limits of the waits and of Airflow's heartbeats.
JUMPS = (60, -60)
#: How much more the last quarter of the rounds may hold than the second. Memory: Airflow's own caches.
GROWTH = {"MiB": 1.25, "threads": 1.1, "descriptors": 1.2}


class Emulator:
    """The emulator as a process that can be killed; what it has answered is in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "airflow_provider_vectorize.emulator", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "--data", str(self._folder / "vectorize.db")], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.port = int(line.rpartition(":")[2].strip("/\n "))
        self.order("PUT", "visibility", {"mode": "delay", "value": 2})

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def order(self, method: str, path: str, body: object = None) -> object:
        answer = requests.request(method, f"{self.url}/_emulator/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()


@dataclass
class World:
    """Everything of one run of the script."""

    airflow: Airflow
    emulator: Emulator
    folder: Path
    full_disk: Path | None
    clock: Path | None
    dice: random.Random
    token: str = "token-0-0123456789abcdefghijklmnopqrstuv"
    rounds: int = 0
    started: list[Run] = field(default_factory=list)

    @property
    def client(self) -> VectorizeClient:
        return VectorizeClient(ACCOUNT, self.token, base_url=self.emulator.url)

    def connect(self) -> None:
        self.airflow.set_connection(CONN_ID, port=self.emulator.port, account=ACCOUNT, token=self.token)

    def source(self, version: int = 0, records: int = RECORDS) -> tuple[Path, dict[str, list[float]]]:
        """Write a source, at once; a few of its records are invalid. Give what the index must hold of it."""
        path = self.folder / f"round-{self.rounds}.ndjson"
        good, lines = {}, []
        for number in range(records):
            values = [float(self.rounds + number + place + version / 4) for place in range(DIMENSIONS)]
            bad = number % (records // BAD) == 7
            record = {
                "id": f"{self.rounds}-{number}",
                "values": values[: DIMENSIONS - bad],
                "metadata": PADDING,
            }
            lines.append(json.dumps(record))
            if not bad:
                good[f"{self.rounds}-{number}"] = values
        part = path.with_suffix(".part")
        part.write_text("\n".join(lines) + "\n")
        part.replace(path)
        return path, good

    def uploads(self) -> int:
        log = self.emulator.order("GET", "log")
        assert isinstance(log, list)
        return sum(row["operation"] == "upsert" and row["status"] == 200 for row in log)

    def begun(self) -> None:
        """Wait until a load is under way."""
        wait_until(lambda: self.uploads() >= 3, "a load is under way", 120)

    def slow(self) -> None:
        """Let every upload take a while, so that a disaster finds the load in its middle."""
        slow = {"kind": "slow-body", "bytes_per_second": SLOW, "times": 10_000}
        fault = {"kind": "status", "status": 503, "times": 6}
        orders = [order | {"operation": "upsert"} for order in (fault, slow)]
        self.emulator.order("POST", "faults", orders)

    def holds(self, good: dict[str, list[float]]) -> bool:
        """Tell whether the index holds these vectors, with these values."""
        try:
            found = {vector.id: list(vector.values) for vector in self.client.get_by_ids(INDEX, list(good))}
        except VectorizeError:
            return False
        return found == good


Outcome = list[dict[str, list[float]]]


def faults(world: World, good: Outcome) -> None:
    kinds = [
        {"kind": "status", "status": 503}, {"kind": "status", "status": 429, "retry_after": 2}, {"kind": "reset"},
        {"kind": "status", "status": 429, "code": 40041}, {"kind": "accept-then-reset"},
        {"kind": "hang", "seconds": 2},
    ]  # fmt: skip
    world.emulator.order("DELETE", "faults")
    for _ in range(6):
        order = world.dice.choice(kinds) | {
            "operation": world.dice.choice(["upsert", "index_info", "get_by_ids", "*"])
        }
        world.emulator.order("POST", "faults", [order])


def emulator_killed(world: World, good: Outcome) -> None:
    world.begun()
    world.emulator.kill()
    time.sleep(world.dice.uniform(0, 3))
    world.emulator.start()


def triggerer_killed(world: World, good: Outcome) -> None:
    [run] = world.started
    run.wait_for("load", "deferred", "success", seconds=120)
    world.airflow.kill_component("triggerer")
    world.airflow.start_component("triggerer")


def token_replaced(world: World, good: Outcome) -> None:
    world.begun()
    old, world.token = world.token, f"token-{world.rounds}-0123456789abcdefghijklmnopqrstuv"
    world.connect()
    world.emulator.order("POST", "revoke", {"token": old})


def index_recreated(world: World, good: Outcome) -> None:
    world.begun()
    world.client.delete_index(INDEX)
    time.sleep(world.dice.uniform(0, 1))
    world.client.create_index(INDEX, dimensions=DIMENSIONS, metric="cosine")


def source_replaced(world: World, good: Outcome) -> None:
    world.begun()
    good.append(world.source(version=1)[1])


def source_cut(world: World, good: Outcome) -> None:
    """Overwrite the file in its place with a shorter one."""
    world.begun()
    path = world.folder / f"round-{world.rounds}.ndjson"
    os.truncate(path, path.stat().st_size // 3)


def clock_jumps(world: World, good: Outcome) -> None:
    """The clock of all of Airflow's processes jumps, and back."""
    jump = world.dice.choice(JUMPS)
    for offset in (jump, 0):
        world.begun()
        set_clock(world.clock, offset)
        time.sleep(2)


def disk_full(world: World, good: Outcome) -> None:
    """The folder for the rejects or the manifest takes nothing; see :func:`play`."""


@dataclass(frozen=True)
class Disaster:
    """What happens, to which DAG, whether a red task is right then, and what it needs of this machine."""

    happen: Callable[[World, Outcome], None]
    may_be_red: bool = False
    must_be_red: bool = False
    dag_id: str = "hard"
    needs: str | None = None


DISASTERS = {
    "random faults of the service": Disaster(faults),
    "emulator killed and started again": Disaster(emulator_killed),
    "triggerer killed and started again": Disaster(triggerer_killed),
    "token expires and is replaced": Disaster(token_replaced),
    "index deleted and made again": Disaster(index_recreated, may_be_red=True),
    "source replaced while it is read": Disaster(source_replaced, may_be_red=True),
    "source cut while it is read": Disaster(source_cut, may_be_red=True),
    "clock jumps by a minute, and back": Disaster(clock_jumps, needs="clock"),
    "disk for the rejects is full": Disaster(disk_full, must_be_red=True, needs="full_disk"),
    "disk for a manifest is full": Disaster(
        disk_full, must_be_red=True, dag_id="hard_sync", needs="full_disk"
    ),
}


def play(world: World, name: str) -> str:
    """Let a load meet a disaster, and give its end.

    :raises AssertionError: it is not the right one.
    """
    world.rounds += 1
    disaster = DISASTERS[name]
    world.emulator.order("DELETE", "faults")
    world.emulator.order("DELETE", "log")
    world.slow()
    path, expected = world.source()
    good = [expected]
    kept = world.full_disk if disaster.must_be_red else world.folder / f"kept-{world.rounds}"
    world.started = [world.airflow.trigger(disaster.dag_id, source=str(path), folder=str(kept))]
    [run] = world.started
    disaster.happen(world, good)
    state = wait_until(
        lambda: (found := world.airflow.request("GET", run.path)["state"]) in ("success", "failed") and found,
        f"round {world.rounds}, {name}: the run has ended",
        400,
    )
    where = f"round {world.rounds}, {name}: {state}\n{run.log('load')[-4000:]}"
    if state == "success":
        assert not disaster.must_be_red, where
        assert any(world.holds(each) for each in good), f"GREEN WITHOUT ITS VECTORS: {where}"
    else:
        assert disaster.may_be_red or disaster.must_be_red, where
        assert not disaster.must_be_red or "No space left on device" in run.log("load"), where
    assert world.token not in run.log("load"), f"THE TOKEN IS IN THE LOG: {where}"
    return "green" if state == "success" else "red"


def measured(world: World) -> dict[str, float]:
    """Sum what all processes that stay hold."""
    pids = [world.emulator.pid, *world.airflow.pids()]
    sums = dict.fromkeys(GROWTH, 0.0)
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            sums["MiB"] += process.memory_info().rss / 2**20
            sums["threads"] += process.num_threads()
            sums["descriptors"] += process.num_fds()
    return sums


@contextmanager
def full_disk() -> Iterator[Path | None]:
    """Give a folder with no room left; None where nothing can be mounted."""
    with tempfile.TemporaryDirectory(prefix="vectorize-full-") as name:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", name], capture_output=True
        )
        if mounted.returncode:
            yield None
            return
        try:
            with suppress(OSError):
                (Path(name) / "filling").write_bytes(b"x" * 16_384)
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


def show_tails(airflow: Airflow) -> None:
    """Say what Airflow's components have said last, when something went wrong."""
    for name, text in airflow.tails():
        print(f"---- {name}\n{text}", file=sys.stderr, flush=True)


def set_clock(clock: Path | None, seconds: int) -> None:
    assert clock is not None
    with clock.open("r+b") as file:
        file.write(struct.pack("q", seconds))


def wrong_clock(folder: Path) -> tuple[Path | None, dict[str, str]]:
    """Give a file that moves the clock, and the environment of who follows it; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None, {}
    clock, library = folder / "clock", folder / "clock.so"
    clock.write_bytes(struct.pack("q", 0))
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, HERE / "clock.c"], check=True)
    return clock, {
        "LD_PRELOAD": str(library),
        "VECTORIZE_CLOCK": str(clock),
        # Airflow's own processes would refuse each other's tokens as made in the future.
        "AIRFLOW__API_AUTH__JWT_LEEWAY": str(2 * max(JUMPS)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    arguments = parser.parse_args()
    print(f"hard-days: seed {arguments.seed}", flush=True)
    ends: Counter[tuple[str, str]] = Counter()
    samples: list[dict[str, float]] = []
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vectorize-hard-")))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vectorize-sources-")))
        emulator = Emulator(folder)
        stack.callback(emulator.kill)
        clock, environment = wrong_clock(folder)
        airflow = Airflow(home, HERE / "dags", environment)
        stack.callback(airflow.stop)
        stack.push(lambda kind, *_: show_tails(airflow) if kind else None)
        airflow.start()
        disk = stack.enter_context(full_disk())
        world = World(airflow, emulator, folder, disk, clock, random.Random(arguments.seed))
        world.connect()
        world.client.create_index(INDEX, dimensions=DIMENSIONS, metric="cosine")
        names = [name for name, one in DISASTERS.items() if not one.needs or getattr(world, one.needs)]
        end = time.monotonic() + arguments.minutes * 60
        deck: list[str] = []
        while time.monotonic() < end:
            deck = deck or world.dice.sample(names, len(names))
            samples.append(measured(world))
            name = deck.pop()
            ends[name, how := play(world, name)] += 1
            print(f"hard-days: round {world.rounds}: {name}: {how}", flush=True)
    head = f"{world.rounds} rounds in {arguments.minutes:.0f} minutes, seed {arguments.seed}:"
    table = "\n".join([head, "", *rows(ends, samples)])
    print(table)
    if arguments.write:
        text = re.sub(
            r"(?<=<!-- table -->\n).*?(?=\n<!-- /table -->)", lambda _: table, PAGE.read_text(), flags=re.S
        )
        PAGE.write_text(text)
    grown = [name for name in GROWTH if not flat(samples, name)]
    if grown:
        raise SystemExit(f"hard-days: failed: {', '.join(grown)} have grown")
    print(
        f"hard-days: ok: {world.rounds} rounds in {arguments.minutes:.0f} minutes, nothing lost, nothing grown"
    )


def quarter(samples: list[dict[str, float]], name: str, number: int) -> float:
    size = max(1, len(samples) // 4)
    return median(sample[name] for sample in samples[number * size : (number + 1) * size] or samples[-1:])


def flat(samples: list[dict[str, float]], name: str) -> bool:
    """Compare the last quarter with the second: the first warms up."""
    return len(samples) < 8 or quarter(samples, name, 3) <= GROWTH[name] * quarter(samples, name, 1)


def rows(ends: Counter[tuple[str, str]], samples: list[dict[str, float]]) -> list[str]:
    found = ["| disaster | green, all there | red, rightly | green, or red, wrongly |", "|---|--:|--:|--:|"]
    found += [f"| {name} | {ends[name, 'green']} | {ends[name, 'red']} | 0 |" for name in DISASTERS]
    found += ["", "| all processes together | second quarter | last quarter |", "|---|--:|--:|"]
    return found + [
        f"| {name} | {quarter(samples, name, 1):,.0f} | {quarter(samples, name, 3):,.0f} |" for name in GROWTH
    ]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
