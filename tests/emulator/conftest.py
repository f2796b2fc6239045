from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_vectorize.emulator import Emulator
from tests.emulator.api import Api


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def api(emulator: Emulator) -> Api:
    return Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)


@pytest.fixture
def docs(emulator: Emulator, api: Api) -> Api:
    """The API with an index ``docs`` of 32 dimensions."""
    emulator.create_index("docs", dimensions=32, metric="cosine")
    return api
