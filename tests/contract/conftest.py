"""The services that the contract is checked against: the emulator always, the real one on request."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_vectorize.emulator import Emulator
from tests.emulator.api import Api

LIVE = ("VECTORIZE_ACCOUNT_ID", "VECTORIZE_API_TOKEN")
CLOUDFLARE = "https://api.cloudflare.com/client/v4"
DIMENSIONS = 32


class Service(Api):
    """A Vectorize service, and indexes of one's own on it.

    :param patience: seconds to wait for a write to be seen.
    """

    def __init__(self, url: str, account: str, token: str, *, patience: float) -> None:
        super().__init__(url, account, token)
        self._patience = patience
        self._made: list[str] = []

    def index(self, metric: str = "cosine") -> str:
        """Create an index that is deleted after the test; give its name."""
        name = f"contract-{uuid.uuid4().hex[:16]}"
        self.create(name, dimensions=DIMENSIONS, metric=metric)
        self._made.append(name)
        return name

    def until(self, probe: Callable[[], Any]) -> Any:
        """Wait until a probe gives something true."""
        deadline = time.monotonic() + self._patience
        while not (seen := probe()):
            assert time.monotonic() < deadline, f"not seen within {self._patience} s"
            time.sleep(self._patience / 100)
        return seen

    def wait(self, name: str, mutation: str) -> None:
        """Wait until a write can be seen; nobody else writes to the index of a test."""
        self.until(lambda: self.watermark(name) == mutation)

    def clean_up(self) -> None:
        for name in self._made:
            self.call("DELETE", f"/{name}")


@pytest.fixture(params=["emulator", "live"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if request.param == "emulator":
        with Emulator(visibility=("delay", 0.05)) as emulator:
            yield Service(f"{emulator.url}/client/v4", emulator.account, emulator.token, patience=5)
        return
    missing = [name for name in LIVE if not os.environ.get(name)]
    if os.environ.get("VECTORIZE_LIVE") != "1" or missing:
        pytest.skip(f"not run against the real service: set {', '.join(LIVE)} and VECTORIZE_LIVE=1")
    account, token = (os.environ[name] for name in LIVE)
    live = Service(CLOUDFLARE, account, token, patience=300)
    yield live
    live.clean_up()
