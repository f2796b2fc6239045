"""One real Airflow for all tests of this folder, and an emulator with a connection for each."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.emulator import Emulator
from tests.real.live import Airflow

INDEX = "docs"
MEASURED = pytest.StashKey[list[str]]()
TOKEN = "tok_0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    airflow = getattr(item, "funcargs", {}).get("airflow")
    if report.failed and airflow is not None:
        report.sections += [(f"last lines of the {name}", tail) for name, tail in airflow.tails()]
    return report


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if measured := config.stash[MEASURED]:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(measured))


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note a number for the end of the run."""
    name = request.node.name
    return lambda text: request.config.stash[MEASURED].append(f"{name}: {text}")


@pytest.fixture(scope="session")
def airflow() -> Iterator[Airflow]:
    with tempfile.TemporaryDirectory(prefix="vectorize-real-") as home:
        airflow = Airflow(Path(home))
        try:
            airflow.start()
            yield airflow
        finally:
            airflow.stop()


@dataclass(frozen=True)
class Api:
    """The service as a test sees it: an emulator, and the connection that leads tasks to it."""

    emulator: Emulator
    client: VectorizeClient
    conn_id: str

    def connect(self, airflow: Airflow, conn_id: str, token: str) -> str:
        """Store a connection that leads here, or replace it; give its id."""
        airflow.set_connection(conn_id, port=self.emulator.port, account=self.emulator.account, token=token)
        return conn_id

    def count(self, *operations: str) -> int:
        """How many requests of these operations have arrived."""
        return sum(row["operation"] in operations for row in self.emulator.log())


@pytest.fixture
def api(airflow: Airflow, request: pytest.FixtureRequest) -> Iterator[Api]:
    conn_id = re.sub(r"\W+", "_", request.node.name)
    with Emulator() as emulator:
        emulator.create_index(INDEX)
        api = Api(emulator, VectorizeClient(emulator.account, TOKEN, base_url=emulator.url), conn_id)
        api.connect(airflow, conn_id, TOKEN)
        yield api
