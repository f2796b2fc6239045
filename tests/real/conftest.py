"""One real Airflow for all tests of this folder, and an emulator with a connection for each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.emulator import Emulator
from tests.real.live import Airflow

INDEX = "docs"
TOKEN = "tok_0123456789abcdefghijklmnopqrstuvwxyz"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    airflow = getattr(item, "funcargs", {}).get("airflow")
    if report.failed and airflow is not None:
        report.sections += [(f"last lines of the {name}", tail) for name, tail in airflow.tails()]
    return report


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    airflow = Airflow(tmp_path_factory.mktemp("airflow"))
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

    def count(self, *operations: str) -> int:
        """How many requests of these operations have arrived."""
        return sum(row["operation"] in operations for row in self.emulator.log())


@pytest.fixture
def api(airflow: Airflow, request: pytest.FixtureRequest) -> Iterator[Api]:
    conn_id = re.sub(r"\W+", "_", request.node.name)
    with Emulator() as emulator:
        emulator.create_index(INDEX)
        airflow.set_connection(conn_id, port=emulator.port, account=emulator.account, token=TOKEN)
        yield Api(emulator, VectorizeClient(emulator.account, TOKEN, base_url=emulator.url), conn_id)
