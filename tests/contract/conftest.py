"""The services that the contract is checked against: the emulator always, the real one on request."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from airflow_provider_vectorize.emulator import Emulator
from tests.contract.service import LIVE, Service, emulated, live, missing


@pytest.fixture(params=["emulator", "live"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if request.param == "emulator":
        with Emulator(visibility=("delay", 0.05)) as emulator:
            yield emulated(emulator)
        return
    if os.environ.get("VECTORIZE_LIVE") != "1" or missing(os.environ):
        pytest.skip(f"not run against the real service: set {', '.join(LIVE)} and VECTORIZE_LIVE=1")
    real = live(os.environ)
    yield real
    real.clean_up()
