"""Run the tests on every supported Airflow and Python, and write into the README what passed.

Called by ``make matrix`` and ``make smoke``. One environment for each pair, made anew, with nothing in it that was
published after the day given here: an old Airflow does not stand today's packages, and the people who run it have
installed it with those of its time. Pairs whose Python is not on this machine are left out. Each pair has a line of its
own in the README, written when it has passed and taken out when it has failed, so that they can be run one at a time.
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
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".work" / "matrix"
README = ROOT / "README.md"

#: As `make test` does it; the log names each test as it ends.
OPTIONS = ["--verbose", "-n", "2", "--dist", "loadfile"]
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
    def version(self) -> str:
        """The minor version of Airflow."""
        return self.airflow.rpartition(".")[0]

    @property
    def name(self) -> str:
        """What the option ``--only`` calls it."""
        return f"{self.version}-{self.python}{'-lowest' if self.lowest else ''}"

    @property
    def cells(self) -> str:
        """What its line in the README begins with."""
        lowest = ", our dependencies at their lowest" if self.lowest else ""
        return f"| {self.airflow} | {self.python}{lowest} | {self.published_by} |"


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
        run(python, "-m", "pytest", *OPTIONS, "--junit-xml", results, *tests, log=log)
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


def write_readme(outcome: Outcome) -> None:
    """Write the line of a pair into the README if it has passed; else take it out."""
    text = README.read_text()
    found = re.search(r"(?<=<!-- versions -->\n).*?(?=\n<!-- /versions -->)", text, flags=re.DOTALL)
    if found is None:
        raise SystemExit(f"{README.name} has no place for the versions that were tested")
    head, lines = found[0].splitlines()[:2], found[0].splitlines()[2:]
    known = {pair.name: line for pair in PAIRS for line in lines if line.startswith(pair.cells)}
    if outcome.failed:
        known.pop(outcome.pair.name, None)
    else:
        today = datetime.now(UTC).date()
        known[outcome.pair.name] = f"{outcome.pair.cells} {today} | {outcome.passed:,} |"
    table = [*head, *(known[pair.name] for pair in PAIRS if pair.name in known)]
    README.write_text(text[: found.start()] + "\n".join(table) + text[found.end() :])


def asked_for(only: str | None) -> list[Pair]:
    """Give the pairs to run: all, those of an Airflow, or one.

    :raises SystemExit: there is none.
    """
    pairs = [pair for pair in PAIRS if only in (None, pair.version, pair.name)]
    if not pairs:
        names = dict.fromkeys(name for pair in PAIRS for name in (pair.version, pair.name))
        raise SystemExit(f"there is no {only}; there are {', '.join(names)}")
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one pair, such as 3.3-3.11, or all of an Airflow, such as 3.3")
    parser.add_argument("--smoke", action="store_true", help="run the smoke tests only")
    arguments = parser.parse_args()
    outcomes = []
    print("Airflow-Python      passed  failed  skipped  seconds")
    for pair in asked_for(arguments.only):
        outcome = check(pair, SMOKE if arguments.smoke else suite(pair))
        outcomes.append(outcome)
        print(outcome.row, flush=True)
        if outcome.passed is not None and not arguments.smoke:
            write_readme(outcome)
    for outcome in outcomes:
        if outcome.failed:
            log = (WORK / outcome.pair.name / "log").relative_to(ROOT)
            print(f"failed: {outcome.pair.name}, see {log}")
    if any(outcome.failed for outcome in outcomes) or not any(outcome.passed for outcome in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
