"""Fixtures for tests of one's own DAGs.

Load them with ``pytest_plugins = ["airflow_provider_vectorize.emulator.pytest_plugin"]`` in the top ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_vectorize.emulator import Emulator


@pytest.fixture
def vectorize_emulator() -> Iterator[Emulator]:
    """Run an emulator of its own for the test, empty, on a free port."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def vectorize_connection(vectorize_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point Airflow's connection ``vectorize_default`` at the emulator, and give its id."""
    emulator = vectorize_emulator
    monkeypatch.setenv(
        "AIRFLOW_CONN_VECTORIZE_DEFAULT",
        f"vectorize://{emulator.account}:{emulator.token}@127.0.0.1:{emulator.port}/http",
    )
    return "vectorize_default"
