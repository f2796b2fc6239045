from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests_mock

from airflow_provider_vectorize.client import VectorizeClient
from tests.fake_time import FakeTime

TOKEN = "tok_0123456789abcdefghijklmnopqrstuvwxyz"  # 40 characters, as Cloudflare's
ACCOUNT = "0123456789abcdef0123456789abcdef"
BASE = f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/vectorize/v2/indexes"


def ok(result: Any, **envelope: Any) -> dict[str, Any]:
    return {"success": True, "errors": [], "messages": [], "result": result, **envelope}


def failure(code: int, message: str, **fields: Any) -> dict[str, Any]:
    return {
        "success": False,
        "errors": [{"code": code, "message": message, **fields}],
        "messages": [],
        "result": None,
    }


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def make_client(time: FakeTime) -> Callable[..., VectorizeClient]:
    def make(**kwargs: Any) -> VectorizeClient:
        return VectorizeClient(ACCOUNT, TOKEN, **({"sleep": time.sleep, "clock": time.clock} | kwargs))

    return make


@pytest.fixture
def client(make_client: Callable[..., VectorizeClient]) -> VectorizeClient:
    return make_client()


@pytest.fixture
def api() -> Any:
    with requests_mock.Mocker() as mocker:
        yield mocker
