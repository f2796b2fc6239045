"""Who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "airflow_provider_vectorize"
NAME = PACKAGE.name
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def test_there_is_something_to_check():
    assert {"client", "ingest", "visibility", "hooks", "operators", "sensors", "emulator"} <= set(
        map(room_of, MODULES)
    )


@pytest.mark.parametrize("room", ["client", "ingest", "index", "visibility", "waiting", "sync", "emulator"])
def test_the_core_knows_nothing_of_airflow(room):
    for path in MODULES:
        if room_of(path) == room:
            assert not {name for name in imports_of(path) if name.split(".")[0] == "airflow"}, path


ALLOWED = {
    "__init__": set(),
    "ending": set(),
    "wording": set(),
    "client": {"client", "ending", "wording"},
    "visibility": {"client"},
    "ingest": {"ingest", "client", "ending", "visibility", "wording"},
    "index": {"index", "ingest", "client"},
    "waiting": {"client", "visibility", "wording"},
    "sync": {"sync", "index", "ingest", "ending", "client", "visibility", "waiting"},
    "connection": {"client"},
    "assets": {"client"},
    "runtime": {"runtime", "client", "ingest", "waiting"},
    "links": {"runtime"},
    "base": {"links", "hooks", "runtime"},
    "lineage": {"assets", "ingest", "base"},
    "policies": {"client"},
    "emulator": {"emulator"},
    "__main__": {"hooks", "sync", "ingest", "client"},
    "hooks": {
        "hooks",
        "runtime",
        "assets",
        "sync",
        "client",
        "ingest",
        "index",
        "ending",
        "visibility",
        "waiting",
        "connection",
    },
    "triggers": {"triggers", "runtime", "hooks", "client", "waiting", "visibility", "connection", "wording"},
    "operators": {
        "operators",
        "base",
        "lineage",
        "links",
        "runtime",
        "hooks",
        "sync",
        "triggers",
        "client",
        "ingest",
        "index",
        "waiting",
        "visibility",
        "wording",
    },
    "sensors": {
        "sensors",
        "base",
        "operators",
        "links",
        "runtime",
        "hooks",
        "triggers",
        "client",
        "ending",
        "waiting",
        "visibility",
        "wording",
    },
    "decorators": {"decorators", "operators", "runtime", "client"},
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_the_rooms_below_it(path):
    rooms = {
        name.split(".")[1]
        for name in imports_of(path)
        if name.startswith(f"{NAME}.") and name.split(".")[1] not in ("__version__", "get_provider_info")
    }
    assert rooms <= ALLOWED[room_of(path)]


def test_the_map_of_ingest_names_all_of_its_modules_and_no_others():
    folder = PACKAGE / "ingest"
    named = re.findall(r":mod:`\.(\w+)`", ast.get_docstring(ast.parse((folder / "__init__.py").read_text())))
    assert sorted(named) == sorted(path.stem for path in folder.glob("[!_]*.py"))


@pytest.mark.parametrize("room", ["ingest", "visibility"])
def test_ingest_and_visibility_know_the_client_through_types_limits_and_errors_only(room):
    for path in MODULES:
        if room_of(path) == room:
            used = {name for name in imports_of(path) if name.startswith(f"{NAME}.client")}
            parts = {name.split(".")[2] for name in used if name.count(".") >= 2}
            assert parts <= {"types", "errors", "limits"}, path


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_package_itself_is_light():
    assert not loaded_by(NAME) & {"numpy", "requests", "airflow", "orjson"}


@pytest.mark.parametrize(
    "module",
    [
        "decorators.vectorize",
        "operators.index",
        "operators.vectorize",
        "operators.vectors",
        "sensors.vectorize",
    ],
)
def test_a_dag_file_loads_neither_requests_nor_numpy(module):
    airflows = loaded_by("airflow.models")  # in 2.11 with requests
    assert not (loaded_by(f"{NAME}.{module}") - airflows) & {"numpy", "requests", "orjson"}


def test_a_dag_file_pays_little_more_than_airflow_itself():
    code = (
        "import time; from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator, XComArg, conf;"
        "started = time.process_time();"
        f"import {NAME}.operators.vectorize, {NAME}.sensors.vectorize;"
        "print(time.process_time() - started, started)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours, airflows = map(float, run.stdout.split()[-2:])
    print(f"{ours / airflows:.1%} of Airflow's own imports")
    assert ours < 0.05 * airflows


@pytest.mark.parametrize("module", ["client.errors", "client.types", "client.limits", "ingest.options"])
def test_what_a_dag_file_needs_of_the_core_is_light(module):
    assert not loaded_by(f"{NAME}.{module}") & {"numpy", "requests", "airflow", "orjson", "tenacity"}
