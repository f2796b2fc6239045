from __future__ import annotations

import pytest

from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.emulator.pytest_plugin import vectorize_connection, vectorize_emulator
from tests.emulator.api import Api

__all__ = ["vectorize_connection", "vectorize_emulator"]


@pytest.fixture
def emulator(vectorize_emulator: Emulator) -> Emulator:
    return vectorize_emulator


@pytest.fixture
def api(emulator: Emulator) -> Api:
    return Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)


@pytest.fixture
def docs(emulator: Emulator, api: Api) -> Api:
    """The API with an index ``docs`` of 32 dimensions."""
    emulator.create_index("docs", dimensions=32, metric="cosine")
    return api
