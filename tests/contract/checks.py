"""What is worth knowing of the API, each as one function that asks a service and gives what it saw.

A check asserts nothing: :mod:`.congruence` sets the answers of two services side by side, field by field.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

from tests.contract.service import DIMENSIONS, Service
from tests.emulator.api import NDJSON, ndjson, vector

#: Field -> what was seen.
Answers = dict[str, str]

CHECKS: Final[dict[str, Callable[[Service], Answers]]] = {}

JSON: Final = {"Content-Type": "application/json"}
UPLOAD: Final = {"Content-Type": NDJSON}
QUERY: Final = vector("")["values"]
CONFIG: Final = {"dimensions": DIMENSIONS, "metric": "cosine"}


def check(function: Callable[[Service], Answers]) -> Callable[[Service], Answers]:
    CHECKS[function.__name__.replace("_", " ")] = function
    return function


def asked(service: Service, method: str, path: str = "", **options: Any) -> str:
    """Give HTTP status and code of an answer, or HTTP status and whether there is a mutation id."""
    response = service.call(method, path, **options)
    try:
        envelope = response.json()
    except ValueError:
        return f"{response.status_code}, no JSON"
    if not envelope.get("success"):
        return f"{response.status_code}, code {', '.join(str(error['code']) for error in envelope['errors'])}"
    result = envelope["result"]
    return (
        f"{response.status_code}, a mutation"
        if isinstance(result, dict) and "mutationId" in result
        else str(response.status_code)
    )


def names(found: Iterable[dict[str, Any]]) -> str:
    return " ".join(sorted(item["id"] for item in found)) or "none"


@check
def an_index(service: Service) -> Answers:
    name = service.name()
    created = asked(service, "POST", json={"name": name, "config": CONFIG})
    described, info = service.result("GET", f"/{name}"), service.info(name)
    deleted = service.call("DELETE", f"/{name}").json()["result"]
    return {
        "create": created,
        "get: fields": " ".join(sorted(described)),
        "get: fields of config": " ".join(sorted(described["config"])),
        "info when new: fields": " ".join(sorted(info)),
        "delete: result": str(deleted),
        "get after delete": asked(service, "GET", f"/{name}"),
        "create again at once": asked(service, "POST", json={"name": name, "config": CONFIG}),
    }


@check
def refusals_of_a_new_index(service: Service) -> Answers:
    def create(**body: Any) -> str:
        return asked(service, "POST", json={"name": service.name(), "config": CONFIG, **body})

    name = service.index()
    return {
        "a name that exists": create(name=name),
        "a name in capitals": create(name="Contract"),
        "a name of one letter": create(name="c"),
        "a name of 65 bytes": create(name="c" * 65),
        "a name that is a number": create(name=7),
        "no config": asked(service, "POST", json={"name": service.name()}),
        "an empty config": create(config={}),
        "31 dimensions": create(config={"dimensions": 31, "metric": "cosine"}),
        "1537 dimensions": create(config={"dimensions": 1537, "metric": "cosine"}),
        "an unknown metric": create(config={"dimensions": 32, "metric": "manhattan"}),
        "an unknown preset": create(config={"preset": "nobody"}),
        "broken JSON": asked(service, "POST", data=b"{", headers=JSON),
        "JSON without its content type": asked(service, "POST", data=b"{}"),
    }


@check
def refusals_of_requests(service: Service) -> Answers:
    name = service.index()

    def query(**body: Any) -> str:
        return asked(service, "POST", f"/{name}/query", json={"vector": QUERY, **body})

    return {
        "an unknown index": asked(service, "GET", f"/{service.name()}/info"),
        "an unknown path": asked(service, "GET", f"/{name}/nothing"),
        "another method": asked(service, "PUT", f"/{name}"),
        "a wrong token": asked(service, "GET", f"/{name}", headers={"Authorization": "Bearer wrong"}),
        "no token": asked(service, "GET", f"/{name}", headers={"Authorization": None}),
        "21 ids to get": asked(service, "POST", f"/{name}/get_by_ids", json={"ids": ["x"] * 21}),
        "101 ids to delete": asked(service, "POST", f"/{name}/delete_by_ids", json={"ids": ["x"] * 101}),
        "an id of 65 bytes to get": asked(service, "POST", f"/{name}/get_by_ids", json={"ids": ["x" * 65]}),
        "no ids": asked(service, "POST", f"/{name}/get_by_ids", json={"ids": []}),
        "ids that are no list": asked(service, "POST", f"/{name}/get_by_ids", json={"ids": "x"}),
        "query: other dimensions": query(vector=[1.0]),
        "query: no vector": asked(service, "POST", f"/{name}/query", json={"topK": 1}),
        "query: an unknown vectorId": asked(service, "POST", f"/{name}/query", json={"vectorId": "nobody"}),
        "query: topK 0": query(topK=0),
        "query: topK 101": query(topK=101),
        "query: topK 51 with values": query(topK=51, returnValues=True),
        "query: returnMetadata true": query(returnMetadata=True),
        "query: broken JSON": asked(service, "POST", f"/{name}/query", data=b"{", headers=JSON),
        "query: JSON without its content type": asked(service, "POST", f"/{name}/query", data=b"{}"),
        "list: count 0": asked(service, "GET", f"/{name}/list?count=0"),
        "list: count 1001": asked(service, "GET", f"/{name}/list?count=1001"),
        "list: an unknown cursor": asked(service, "GET", f"/{name}/list?cursor=nobody"),
    }


@check
def refusals_of_uploads(service: Service) -> Answers:
    name = service.index()

    def upload(*records: Any, query: str = "", kind: str = NDJSON) -> str:
        return asked(
            service, "POST", f"/{name}/upsert{query}", data=ndjson(records), headers={"Content-Type": kind}
        )

    def part(field: str) -> str:
        return asked(service, "POST", f"/{name}/upsert", files={field: ("v", ndjson([vector("a")]), NDJSON)})

    return {
        "labelled JSON": upload(vector("a"), kind="application/json"),
        "labelled text": upload(vector("a"), kind="text/plain"),
        "nothing": asked(service, "POST", f"/{name}/upsert", data=b"", headers=UPLOAD),
        "a broken line": asked(service, "POST", f"/{name}/upsert", data=b"{broken", headers=UPLOAD),
        "an id of 65 bytes": upload(vector("x" * 65)),
        "an empty id": upload(vector("")),
        "a namespace of 65 bytes": upload(vector("a", namespace="x" * 65)),
        "other dimensions": upload(vector("a", dimensions=33)),
        "metadata of 10,241 bytes": upload(vector("a", metadata={"t": "x" * (10_241 - 8)})),
        "a dot in a metadata key": upload(vector("a", metadata={"a.b": 1})),
        "an empty metadata key": upload(vector("a", metadata={"": 1})),
        "a metadata key with $": upload(vector("a", metadata={"$a": 1})),
        "a list of numbers in metadata": upload(vector("a", metadata={"a": [1]})),
        "values as texts": upload({"id": "a", "values": ["1.5"] * DIMENSIONS}),
        "a number beyond float32": upload(vector("a", 1e39)),
        "5,001 vectors": upload(*(vector(f"v{number}") for number in range(5_001))),
        "unparsable-behavior ignore": upload(vector("a"), query="?unparsable-behavior=ignore"),
        "discard, a broken line": upload({"id": 7}, vector("b"), query="?unparsable-behavior=discard"),
        "discard, other dimensions": upload(
            vector("a", dimensions=33), vector("b"), query="?unparsable-behavior=discard"
        ),
        "multipart, part vectors": part("vectors"),
        "multipart, part body": part("body"),
        "multipart, another part": part("other"),
    }  # fmt: skip


@check
def metadata_indexes(service: Service) -> Answers:
    name = service.index()
    body = {"propertyName": "t", "indexType": "string"}
    path = f"/{name}/metadata_index"
    answers = {
        "create": asked(service, "POST", f"{path}/create", json=body),
        "create again at once": asked(service, "POST", f"{path}/create", json=body),
    }
    service.until(lambda: service.result("GET", f"{path}/list")["metadataIndexes"])
    (listed,) = service.result("GET", f"{path}/list")["metadataIndexes"]
    return {
        **answers,
        "listed type": listed["indexType"],
        "create again when it is listed": asked(service, "POST", f"{path}/create", json=body),
        "create an unknown type": asked(
            service, "POST", f"{path}/create", json={**body, "indexType": "date"}
        ),
        "delete an unknown one": asked(service, "POST", f"{path}/delete", json={"propertyName": "u"}),
        "delete": asked(service, "POST", f"{path}/delete", json={"propertyName": "t"}),
    }


FILTERS: Final[list[dict[str, Any]]] = [
    {"s": "a"}, {"s": {"$ne": "a"}}, {"s": {"$in": ["a", "b"]}}, {"s": {"$nin": ["a"]}}, {"s": {"$in": []}},
    {"s": None}, {"s": {"$ne": None}}, {"s": {"$in": ["a", None]}}, {"s": {"$nin": ["a", None]}},
    {"s": 7}, {"s": "7"}, {"s": {"$gt": "a"}}, {"s": {"$gte": "a", "$lt": "b"}}, {"n": 10}, {"n": "10"},
    {"n": {"$ne": 10}}, {"n": {"$gt": 5}}, {"n": {"$gt": "5"}}, {"n": {"$gt": "x"}}, {"n": {"$gt": None}},
    {"n": {"$gt": 1, "$gte": 2}}, {"n": {"$gt": 1, "$eq": 10}}, {"b": True}, {"b": {"$ne": True}}, {"b": 1},
    {"b": {"$gt": False}}, {"in.s": "a"}, {"unindexed": "a"}, {"unindexed": {"$ne": "a"}},
    {"s": {}}, {"s": {"$or": ["a"]}}, {"s": ["a"]}, {"$s": "a"}, {"": "a"}, {"k" * 513: "a"}, {"s": "x" * 2_048},
]  # fmt: skip
DOCUMENTS: Final[dict[str, dict[str, Any]]] = {
    "a": {"s": "a", "n": 10, "b": True, "unindexed": "a"}, "b": {"s": "b", "n": 2.5, "b": False},
    "odd": {"s": 7, "n": "10", "b": "true"}, "deep": {"in": {"s": "a"}}, "none": {},
}  # fmt: skip


@check
def filters(service: Service) -> Answers:
    name = service.index()
    for field, kind in (("s", "string"), ("n", "number"), ("b", "boolean"), ("in.s", "string")):
        last = service.add_metadata_index(name, field, kind)
    service.wait(name, last)
    service.wait(
        name, service.upsert(name, *(vector(key, metadata=value) for key, value in DOCUMENTS.items()))
    )
    service.until(lambda: len(service.query(name, vector=QUERY)) == len(DOCUMENTS))
    answers = {}
    for expression in FILTERS:
        path, body = f"/{name}/query", {"vector": QUERY, "filter": expression, "topK": 20}
        response = service.call("POST", path, json=body)
        found = response.json()
        text = (
            str(expression)
            if len(str(expression)) < 60
            else f"{str(expression)[:40]}... ({len(str(expression))})"
        )
        answers[text] = (
            names(found["result"]["matches"]) if found["success"] else asked(service, "POST", path, json=body)
        )
    return answers


@check
def null_metadata(service: Service) -> Answers:
    name = service.index()
    record = vector("a", metadata={"t": None, "u": "x"})
    response = service.call("POST", f"/{name}/upsert", data=ndjson([record]), headers=UPLOAD)
    if not response.json()["success"]:
        return {
            "upsert": asked(service, "POST", f"/{name}/upsert", data=ndjson([record]), headers=UPLOAD),
            "reads back": "none",
        }
    service.wait(name, response.json()["result"]["mutationId"])
    (found,) = service.get(name, "a")
    return {"upsert": str(response.status_code), "reads back": str(found["metadata"])}


@check
def a_vector_read_back(service: Service) -> Answers:
    name = service.index()
    service.wait(name, service.upsert(name, vector("a", 67.1), vector("b", metadata={})))
    plain, empty = sorted(service.get(name, "a", "b"), key=lambda item: item["id"])
    return {
        "fields": " ".join(sorted(plain)),
        "without metadata": str(plain.get("metadata", "left out")),
        "with empty metadata": str(empty.get("metadata", "left out")),
        "67.1": f"{plain['values'][0]:.13f}",
    }


@check
def a_delete_of_an_absent_id(service: Service) -> Answers:
    name = service.index()
    service.wait(name, service.upsert(name, vector("a")))
    response = service.call("POST", f"/{name}/delete_by_ids", json={"ids": ["nobody"]}).json()
    mutation = (response.get("result") or {}).get("mutationId")
    if mutation is None:
        return {"gives a mutation": "no", "which is shown": "no"}
    try:
        service.wait(name, mutation)
    except AssertionError:
        return {"gives a mutation": "yes", "which is shown": "no"}
    return {"gives a mutation": "yes", "which is shown": "yes"}


@check
def an_id_twice_in_one_body(service: Service) -> Answers:
    name = service.index()
    service.upsert(name, vector("u", 1.0), vector("u", 2.0))
    service.wait(name, service.insert(name, vector("i", 1.0), vector("i", 2.0)))
    kept = {
        item["id"]: {1.0: "the first", 2.0: "the last"}[item["values"][0]]
        for item in service.get(name, "u", "i")
    }
    return {"upsert keeps": kept.get("u", "none"), "insert keeps": kept.get("i", "none")}


@check
def the_curl_command_of_the_reference(service: Service) -> Answers:
    name = service.index()
    boundary = uuid.uuid4().hex
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="body"; filename="v.ndjson"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode() + ndjson([vector("a")]) + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip
    headers = {"Content-Type": f"{NDJSON}; boundary={boundary}"}
    response = service.call("POST", f"/{name}/upsert", data=body, headers=headers)
    if not response.json()["success"]:
        return {
            "upsert": asked(service, "POST", f"/{name}/upsert", data=body, headers=headers),
            "stored": "none",
        }
    service.wait(name, response.json()["result"]["mutationId"])
    return {"upsert": f"{response.status_code}, a mutation", "stored": names(service.get(name, "a"))}


@check
def a_list_is_a_snapshot(service: Service) -> Answers:
    name = service.index()
    service.wait(name, service.upsert(name, *(vector(f"v{number}") for number in range(6))))
    service.until(lambda: service.result("GET", f"/{name}/list")["totalCount"] == 6)
    page = service.result("GET", f"/{name}/list?count=2")
    first = {item["id"] for item in page["vectors"]}
    gone = next(f"v{number}" for number in range(6) if f"v{number}" not in first)
    service.delete(name, gone)
    service.wait(name, service.upsert(name, vector("new")))
    rest = service.result("GET", f"/{name}/list", params={"count": 100, "cursor": page["nextCursor"]})
    listed = {item["id"] for item in rest["vectors"]}
    again = asked(service, "GET", f"/{name}/list", params={"count": 100, "cursor": page["nextCursor"]})
    return {
        "fields of a page": " ".join(sorted(page)),
        "what was deleted since": "is listed" if gone in listed else "is missing",
        "what was written since": "is listed" if "new" in listed else "is missing",
        "a cursor used again": again,
    }


@check
def reads_that_go_back(service: Service) -> Answers:
    name = service.index()
    seen: list[str | None] = []
    backwards = 0
    for number in range(3):
        mutation = service.upsert(name, vector("a", float(number + 1)))
        service.wait(name, mutation)
        for _ in range(10):
            seen.append(service.watermark(name))
            found = service.get(name, "a")
            backwards += not found or found[0]["values"][0] != number + 1
            time.sleep(service.patience / 1_000)
    changes = [mark for place, mark in enumerate(seen) if place == 0 or mark != seen[place - 1]]
    return {
        "vectors older than the watermark": "seen" if backwards else "not seen",
        "a watermark that was shown before": "seen" if len(set(changes)) < len(changes) else "not seen",
    }
