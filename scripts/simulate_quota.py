"""How long a load takes at the API's quota, by vectors, request size and workers: the tables of docs/sizing.md.

Time is simulated; the limiter is the emulator's own, 1,200 requests in 5 minutes and then none for 5. The processes do
what the client does: all senders of a process wait when one is refused, for as long as ``Retry-After`` says, then one
goes on, and one more after every minute of quiet. ``--write`` puts the tables into the page.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.settings import RateLimit
from airflow_provider_vectorize.emulator.throttle import Throttle

PAGE = Path(__file__).parent.parent / "docs" / "sizing.md"
#: Bytes of a value as the shortest text of its float32, with its comma, and of the rest of a record.
VALUE_BYTES, RECORD_BYTES = 12.4, 120
MAX_BATCH_BYTES = 32 * 1024 * 1024
MAX_IN_FLIGHT = 4
#: Seconds that the service takes for a request, beside the line. Nobody has published it; it is on the short side.
SERVICE_SECONDS = 1.0
QUIET_SECONDS = 60.0
MBIT = 1e6 / 8


@dataclass(frozen=True)
class Load:
    """A load of one index.

    :param vectors: how many.
    :param dimensions: of each.
    :param slots: tasks that load at the same time.
    :param batch: vectors of a request, at most.
    :param line: bytes a second of all tasks together.
    """

    vectors: int
    dimensions: int
    slots: int
    batch: int = 5_000
    line: float = 1_000 * MBIT

    @property
    def vector_bytes(self) -> float:
        """Text of a vector."""
        return self.dimensions * VALUE_BYTES + RECORD_BYTES

    @property
    def request_vectors(self) -> int:
        """What goes into a request: as many as may, or as many as fit."""
        return min(self.batch, int(MAX_BATCH_BYTES / self.vector_bytes))

    @property
    def requests(self) -> int:
        """How many requests that makes."""
        return ceil(self.vectors / self.request_vectors)

    @property
    def request_seconds(self) -> float:
        """How long one takes while all send."""
        return (
            SERVICE_SECONDS
            + self.request_vectors * self.vector_bytes * self.slots * MAX_IN_FLIGHT / self.line
        )


@dataclass
class Process:
    """A task process: so many requests to go, and its gate."""

    left: int
    active: int = 0
    closed_until: float | None = None

    def may_send(self, now: float) -> bool:
        """Tell whether another request may leave."""
        allowed = MAX_IN_FLIGHT
        if self.closed_until is not None:
            allowed = min(allowed, 1 + int((now - self.closed_until) // QUIET_SECONDS))
        return self.left > 0 and self.active < allowed and now >= (self.closed_until or 0.0)

    def refuse(self, now: float, retry_after: float) -> list[float]:
        """Close the gate, and tell when more may leave."""
        self.closed_until = max(self.closed_until or 0.0, now + retry_after)
        return [self.closed_until + number * QUIET_SECONDS for number in range(MAX_IN_FLIGHT)]


@dataclass
class Simulation:
    """A load under the limiter."""

    load: Load
    now: float = 0.0
    refused: int = 0
    _events: list[tuple[float, int, Process, bool]] = field(default_factory=list)
    _numbers: Iterable[int] = field(default_factory=itertools.count)

    def run(self) -> float:
        """Give the seconds that it takes."""
        throttle = Throttle(RateLimit(), clock=lambda: self.now)
        random_numbers = random.Random(7)
        share, more = divmod(self.load.requests, self.load.slots)
        processes = [Process(share + (number < more)) for number in range(self.load.slots)]
        for process in processes:
            self._at(0.0, process)
        ended = 0.0
        while self._events:
            self.now, _, process, answered = heapq.heappop(self._events)
            if answered:
                process.active -= 1
                ended = self.now
            while process.may_send(self.now):
                try:
                    throttle.check("token")
                except ApiError as error:
                    self.refused += 1
                    jitter = random_numbers.uniform(0, 1)
                    for time in process.refuse(self.now, (error.retry_after or 0) + jitter):
                        self._at(time, process)
                else:
                    process.left -= 1
                    process.active += 1
                    self._at(self.now + self.load.request_seconds, process, answered=True)
        return ended

    def _at(self, time: float, process: Process, *, answered: bool = False) -> None:
        heapq.heappush(self._events, (time, next(iter(self._numbers)), process, answered))


def duration(seconds: float) -> str:
    """Write a duration for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def row(load: Load, *cells: str) -> str:
    """Simulate a load, and write it as a row."""
    simulation = Simulation(load)
    seconds = simulation.run()
    return (
        "| " + " | ".join([*cells, f"{load.requests:,}", duration(seconds), f"{simulation.refused:,}"]) + " |"
    )


def by_size() -> list[str]:
    """How long loads of many sizes take, with full requests."""
    rows = [
        "| vectors | dimensions | GB sent | requests | 1 Gbit/s | refused | 100 Mbit/s |",
        "|--:" * 7 + "|",
    ]
    for vectors, dimensions in itertools.product(
        (100_000, 1_000_000, 5_000_000, 20_000_000), (384, 768, 1536)
    ):
        fast = Load(vectors, dimensions, slots=4)
        slow = Simulation(Load(vectors, dimensions, slots=4, line=100 * MBIT)).run()
        sent = f"{vectors * fast.vector_bytes / 1e9:.1f}"
        rows.append(f"{row(fast, f'{vectors:,}', str(dimensions), sent)} {duration(slow)} |")
    return rows


def by_slots() -> list[str]:
    """What more tasks at a time do to small requests and to full ones."""
    rows = ["| vectors a request | slots | requests | takes | refused |", "|--:" * 5 + "|"]
    for batch, slots in itertools.product((100, 1_000, 5_000), (1, 2, 4, 8, 16, 32)):
        rows.append(row(Load(1_000_000, 768, slots, batch), f"{batch:,}", str(slots)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    arguments = parser.parse_args()
    tables = {"by size": "\n".join(by_size()), "by slots": "\n".join(by_slots())}
    for name, table in tables.items():
        print(f"{name}\n{table}\n")
        if arguments.write:
            insert(name, table)


def insert(name: str, table: str) -> None:
    """Put a table into its place on the page."""
    before, begin, rest = PAGE.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"\n<!-- /{name} -->")
    if not end:
        raise SystemExit(f"{PAGE.name} has no place for the table {name}")
    PAGE.write_text(before + begin + table + end + after)


if __name__ == "__main__":
    main()
