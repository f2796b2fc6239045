"""An emulator, and a client of it."""

from __future__ import annotations

import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.emulator import Emulator


@pytest.fixture
def emulator():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def client(emulator):
    return VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)
