"""A Vectorize service as the contract asks it, the emulator or the real one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from airflow_provider_vectorize.emulator import Emulator
from tests.emulator.api import Api

LIVE: Final = ("VECTORIZE_ACCOUNT_ID", "VECTORIZE_API_TOKEN")
CLOUDFLARE: Final = "https://api.cloudflare.com/client/v4"
DIMENSIONS: Final = 32


class Service(Api):
    """A Vectorize service, and indexes of one's own on it.

    :param patience: seconds to wait for a write to be seen.
    """

    def __init__(self, url: str, account: str, token: str, *, patience: float) -> None:
        super().__init__(url, account, token)
        self.patience = patience
        self._made: list[str] = []

    # What a success and a refusal look like in detail is for the checks to find out.

    def result(self, method: str, path: str = "", **options: Any) -> Any:
        response = self.call(method, path, **options)
        assert response.ok, response.text
        assert response.json()["success"] is True, response.text
        return response.json()["result"]

    def refused(self, method: str, path: str = "", **options: Any) -> tuple[int, int, str]:
        response = self.call(method, path, **options)
        assert response.status_code >= 400, response.text
        (error, *_) = response.json()["errors"]
        return response.status_code, error["code"], error["message"]

    def name(self) -> str:
        """Give a name for an index, which is deleted at the end if it is there."""
        self._made.append(f"contract-{uuid.uuid4().hex[:16]}")
        return self._made[-1]

    def index(self, metric: str = "cosine") -> str:
        """Create an index that is deleted at the end; give its name."""
        name = self.name()
        self.create(name, dimensions=DIMENSIONS, metric=metric)
        return name

    def until(self, probe: Callable[[], Any]) -> Any:
        """Wait until a probe gives something true."""
        deadline = time.monotonic() + self.patience
        while not (seen := probe()):
            assert time.monotonic() < deadline, f"not seen within {self.patience} s"
            time.sleep(self.patience / 100)
        return seen

    def wait(self, name: str, mutation: str) -> None:
        """Wait until a write can be seen; nobody else writes to the index of a test."""
        self.until(lambda: self.watermark(name) == mutation)

    def clean_up(self) -> None:
        for name in self._made:
            self.call("DELETE", f"/{name}")


def emulated(emulator: Emulator) -> Service:
    """Give the emulator as a service."""
    return Service(f"{emulator.url}/client/v4", emulator.account, emulator.token, patience=5)


def missing(environment: Mapping[str, str]) -> list[str]:
    """Tell what has to be set to ask the real service."""
    return [name for name in LIVE if not environment.get(name)]


def live(environment: Mapping[str, str]) -> Service:
    """Give the real service."""
    account, token = (environment[name] for name in LIVE)
    return Service(CLOUDFLARE, account, token, patience=300)
