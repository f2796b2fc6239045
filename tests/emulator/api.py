"""The API as tests speak it: plain HTTP, no client of this package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import requests

NDJSON = "application/x-ndjson"


def vector(name: str, *values: float, dimensions: int = 32, **extra: Any) -> dict[str, Any]:
    """Make a vector whose first values are given and whose others are 0; by default the first is 1."""
    given = list(values) or [1.0]
    return {"id": name, "values": given + [0.0] * (dimensions - len(given)), **extra}


def ndjson(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


class Api:
    """Requests below ``/vectorize/v2/indexes``.

    :param url: the API's base, with ``/client/v4``.
    """

    def __init__(self, url: str, account: str, token: str) -> None:
        self.url = f"{url}/accounts/{account}/vectorize/v2/indexes"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str = "", **options: Any) -> requests.Response:
        return self.session.request(method, self.url + path, timeout=60, **options)

    def result(self, method: str, path: str = "", **options: Any) -> Any:
        """Give ``result`` of a request that has to succeed."""
        response = self.call(method, path, **options)
        assert response.status_code == 200, response.text
        envelope = response.json()
        assert envelope.keys() == {"result", "success", "errors", "messages"}
        assert (envelope["success"], envelope["errors"], envelope["messages"]) == (True, [], [])
        return envelope["result"]

    def refused(self, method: str, path: str = "", **options: Any) -> tuple[int, int, str]:
        """Give HTTP status, code and message of a request that has to be refused."""
        response = self.call(method, path, **options)
        assert response.status_code >= 400, response.text
        return response.status_code, *failure(response.json())

    def create(self, name: str = "docs", *, dimensions: int = 32, metric: str = "cosine") -> None:
        self.result("POST", json={"name": name, "config": {"dimensions": dimensions, "metric": metric}})

    def upload(self, operation: str, name: str, records: Iterable[Mapping[str, Any]]) -> str:
        """Insert or upsert; give the mutation id."""
        headers = {"Content-Type": NDJSON}
        result = self.result("POST", f"/{name}/{operation}", data=ndjson(records), headers=headers)
        return str(result["mutationId"])

    def upsert(self, name: str, *records: Mapping[str, Any]) -> str:
        return self.upload("upsert", name, records)

    def insert(self, name: str, *records: Mapping[str, Any]) -> str:
        return self.upload("insert", name, records)

    def delete(self, name: str, *ids: str) -> str:
        return str(self.result("POST", f"/{name}/delete_by_ids", json={"ids": ids})["mutationId"])

    def get(self, name: str, *ids: str) -> list[dict[str, Any]]:
        return list(self.result("POST", f"/{name}/get_by_ids", json={"ids": ids}))

    def query(self, name: str, **request: Any) -> list[dict[str, Any]]:
        result = self.result("POST", f"/{name}/query", json=request)
        assert result["count"] == len(result["matches"])
        return list(result["matches"])

    def info(self, name: str) -> dict[str, Any]:
        return dict(self.result("GET", f"/{name}/info"))

    def watermark(self, name: str) -> str | None:
        return self.info(name).get("processedUpToMutation")

    def add_metadata_index(self, name: str, property_name: str, kind: str = "string") -> str:
        body = {"propertyName": property_name, "indexType": kind}
        return str(self.result("POST", f"/{name}/metadata_index/create", json=body)["mutationId"])


def failure(envelope: Mapping[str, Any]) -> tuple[int, str]:
    """Check an error envelope; give code and message of its one error."""
    assert envelope.keys() == {"result", "success", "errors", "messages"}
    assert (envelope["result"], envelope["success"], envelope["messages"]) == (None, False, [])
    (error,) = envelope["errors"]
    assert isinstance(error["code"], int)
    assert error["code"] >= 1000
    return error["code"], error["message"]
