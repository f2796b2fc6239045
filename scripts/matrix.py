"""Run the tests on every supported Airflow and Python, and write into the README what passed.

Called by ``make matrix`` and ``make smoke``. One environment for each pair, made anew, with nothing in it that was
published after the day given here: an old Airflow does not stand today's packages, and the people who run it have
installed it with those of its time. Pairs whose Python is not on this machine are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".work" / "matrix"
README = ROOT / "README.md"

#: What knows nothing of Airflow is run once for each Python; on 3.11 `make test` does that.
WITHOUT_AIRFLOW = ["tests/emulator", "tests/contract"]
#: Short, and through all that differs by version: the form, the context, XComs, deferral, object storage.
SMOKE = [
    "tests/test_provider.py",
    "tests/test_connection.py",
    "tests/surface/test_modes.py",
    "tests/surface/test_upload.py",
]


@dataclass(frozen=True)
class Pair:
    """An Airflow on a Python."""

    airflow: str
    python: str
    published_by: str
    lowest: bool = False  # with the lowest versions of our own dependencies

    @property
    def name(self) -> str:
        """What the option ``--only`` calls it."""
        return f"{self.airflow.rpartition('.')[0]}-{self.python}{'-lowest' if self.lowest else ''}"


PAIRS = [
    Pair("3.3.2", "3.11", published_by="2026-11-20"),
    Pair("3.3.2", "3.12", published_by="2026-11-20"),
    Pair("3.3.2", "3.13", published_by="2026-11-20"),
    Pair("3.2.2", "3.11", published_by="2026-07-01"),
    Pair("3.1.8", "3.11", published_by="2026-03-25"),
    Pair("2.11.2", "3.11", published_by="2026-03-25"),
    Pair("2.11.2", "3.12", published_by="2026-03-25"),
    Pair("2.11.2", "3.11", published_by="2026-03-25", lowest=True),
]


@dataclass(frozen=True)
class Outcome:
    """How many tests of a pair did what; None where its Python is not on this machine."""

    pair: Pair
    passed: int | None = None
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def row(self) -> str:
        """The line of the printed table."""
        if self.passed is None:
            return f"{self.pair.name:18}not on this machine"
        return f"{self.pair.name:18}{self.passed:8}{self.failed:8}{self.skipped:9}{self.seconds:9.0f}"


def interpreter(python: str) -> str | None:
    """Find a Python that runs: on the path, or among pyenv's, whose shims do not start all that it has."""
    found = [Path(folder) / f"python{python}" for folder in os.get_exec_path()]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip()
        found += sorted(Path(root).glob(f"versions/{python}.*/bin/python{python}"))
    for path in filter(Path.exists, found):
        asked = subprocess.run(
            [path, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True
        )
        if asked.returncode == 0:
            return asked.stdout.strip()
    return None


def lowest() -> list[str]:
    """Pin our dependencies to the lowest versions that we declare."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [text.replace(">=", "==") for text in declared if not text.startswith("apache-airflow>=")]


def run(*command: str | Path, log: Path) -> bool:
    """Run a command, its output added to the log; tell whether it succeeded."""
    # The certificates that pip and curl trust on this machine.
    environment = os.environ | {"UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "1"}
    with log.open("a") as output:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    return done.returncode == 0


def check(pair: Pair, tests: list[str]) -> Outcome:
    """Make the environment of a pair, and run the tests in it."""
    executable = interpreter(pair.python)
    if executable is None:
        return Outcome(pair)
    started = time.monotonic()
    folder = WORK / pair.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log, results, python = folder / "log", folder / "results.xml", folder / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    packages = [
        f"apache-airflow=={pair.airflow}",
        "--editable",
        ".[test]",
        *(lowest() if pair.lowest else []),
    ]
    made = run(*uv, "venv", "--seed", "--python", executable, folder / "venv", log=log) and run(
        *uv, "pip", "install", "--python", python, "--exclude-newer", pair.published_by, *packages, log=log
    )
    if made:
        run(python, "-m", "pytest", "--quiet", "--junit-xml", results, *tests, log=log)
    seconds = time.monotonic() - started
    if not results.exists():
        return Outcome(pair, passed=0, failed=1, seconds=seconds)
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for element in ElementTree.parse(results).iter("testsuite"):
        for name in counts:
            counts[name] += int(element.attrib[name])
    failed, skipped = counts["failures"] + counts["errors"], counts["skipped"]
    return Outcome(pair, counts["tests"] - failed - skipped, failed, skipped, seconds)


def suite(pair: Pair) -> list[str]:
    """Name the tests that tell something about a pair."""
    if pair.python == "3.11":
        return ["tests", *(f"--ignore={folder}" for folder in WITHOUT_AIRFLOW)]
    return ["tests"]


def write_readme(outcomes: list[Outcome]) -> None:
    """Write into the README which pairs passed."""
    passed = [outcome.pair for outcome in outcomes if outcome.passed and not outcome.failed]
    rows = ["| Airflow | Python | with packages published by |", "|---|---|---|"]
    for (airflow, day), pairs in groupby(passed, lambda pair: (pair.airflow, pair.published_by)):
        pythons = dict.fromkeys(pair.python for pair in pairs)
        rows.append(f"| {airflow} | {', '.join(pythons)} | {day} |")
    table = "\n".join(rows)
    text, replaced = re.subn(
        r"(?<=<!-- versions -->\n).*?(?=\n<!-- /versions -->)", table, README.read_text(), flags=re.DOTALL
    )
    if replaced != 1:
        raise SystemExit(f"{README.name} has no place for the versions that were tested")
    README.write_text(text)


def main() -> None:
    names = [pair.name for pair in PAIRS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=names, help="run one pair, and leave the README as it is")
    parser.add_argument("--smoke", action="store_true", help="run the smoke tests only")
    arguments = parser.parse_args()
    outcomes = []
    print("Airflow-Python      passed  failed  skipped  seconds")
    for pair in PAIRS:
        if arguments.only in (None, pair.name):
            outcomes.append(check(pair, SMOKE if arguments.smoke else suite(pair)))
            print(outcomes[-1].row, flush=True)
    if not (arguments.only or arguments.smoke):
        write_readme(outcomes)
    for outcome in outcomes:
        if outcome.failed:
            log = (WORK / outcome.pair.name / "log").relative_to(ROOT)
            print(f"failed: {outcome.pair.name}, see {log}")
    if any(outcome.failed for outcome in outcomes) or not any(outcome.passed for outcome in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
