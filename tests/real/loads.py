"""What the tests of the loads share: a source, and a way to stop a load in its middle."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

from tests.real.conftest import Api
from tests.real.live import wait_until

DIMENSIONS = 32
#: As the DAGs set them.
CHUNK = 50
MAX_IN_FLIGHT = 4
#: One record of so many is invalid.
BAD_EVERY = 100


def write_source(path: Path, chunks: int, prefix: str = "id") -> None:
    """Put a source for so many chunks in a place, at once."""
    lines = []
    good = 0
    while good < chunks * CHUNK:
        number = len(lines)
        bad = number % BAD_EVERY == BAD_EVERY - 1
        good += not bad
        values = [float(number + place) for place in range(DIMENSIONS - bad)]
        lines.append(json.dumps({"id": f"{prefix}-{number}", "values": values}) + "\n")
    data = "".join(lines).encode()
    part = path.with_suffix(".part")
    part.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    part.replace(path)


def ids_of(path: Path) -> tuple[set[str], set[str]]:
    """Give the ids of a source: the good ones, and the bad ones."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    records = [json.loads(line) for line in lines]
    good = {record["id"] for record in records if len(record["values"]) == DIMENSIONS}
    return good, {record["id"] for record in records} - good


def rejected(folder: Path) -> list[str]:
    """Give the ids in the folder of the rejects, one for each time that it is there."""
    lines = [line for path in sorted(folder.glob("*")) for line in path.read_text().splitlines()]
    return sorted(json.loads(line)["id"] for line in lines)


def uploads(api: Api) -> int:
    return api.count("upsert")


def stall(api: Api, after: int = 10) -> None:
    """Let a load get so far, then answer no more; return once it waits for that."""
    wait_until(lambda: uploads(api) >= after, f"{after} chunks are sent", 120)
    api.emulator.add_faults([{"operation": "upsert", "kind": "hang", "seconds": 300, "times": 10_000}])
    wait_until(lambda: hangs(api.emulator.log()[-1]), "its requests hang", 30)


def hangs(last: dict[str, Any]) -> bool:
    return last.get("fault") == "hang" and time.time() - last["time"] > 0.5
