"""Airflow and the emulator for a person with a browser: ``make ui``. Ctrl-C ends both."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_vectorize.emulator import Emulator
from tests.real.live import Airflow

ROOT = Path(__file__).parent.parent.parent
CONN_ID = "vectorize_default"
TOKEN = "tok_0123456789abcdefghijklmnopqrstuvwxyz"
SETTINGS = {
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "0",
}


@dataclass(frozen=True)
class Shown:
    """What is there to look at."""

    airflow: Airflow
    emulator: Emulator


@contextmanager
def shown(home: Path) -> Iterator[Shown]:
    """Run Airflow with the example DAGs, and the emulator that their connection leads to.

    :param home: an empty directory.
    """
    dags = home / "source"
    shutil.copytree(ROOT / "example_dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(__file__).parent / "dags", dags, dirs_exist_ok=True)
    write_data(dags / "data")
    with Emulator(token=TOKEN, visibility=("delay", 2.0)) as emulator:
        airflow = Airflow(home, dags, SETTINGS)
        try:
            airflow.start()
            airflow.set_connection(CONN_ID, port=emulator.port, account=emulator.account, token=TOKEN)
            yield Shown(airflow, emulator)
        finally:
            airflow.stop()


def write_data(folder: Path) -> None:
    """Make of the passages three files to load side by side, and one with a record that is cut short."""
    lines = (folder / "passages.ndjson").read_text().splitlines(keepends=True)
    (folder / "parts").mkdir()
    for part in range(3):
        (folder / "parts" / f"part-{part}.ndjson").write_text("".join(lines[part::3]))
    record = json.loads(lines[41])
    record["values"] = record["values"][:383]
    lines[41] = json.dumps(record) + "\n"
    (folder / "bad.ndjson").write_text("".join(lines))


def main() -> None:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    print("ui: starting Airflow (about half a minute)", flush=True)
    with tempfile.TemporaryDirectory(prefix="vectorize-ui-") as home, shown(Path(home)) as here:
        print(f"ui: Airflow   {here.airflow.url}   (no login: everybody on this machine is admin)")
        print(f"ui: emulator  {here.emulator.url}   (its page; token {TOKEN})")
        print(f"ui: the connection {CONN_ID} leads to the emulator. Ctrl-C ends all of it.", flush=True)
        ended.wait()
        print("ui: stopping", flush=True)
    print("ui: ended", flush=True)


if __name__ == "__main__":
    main()
