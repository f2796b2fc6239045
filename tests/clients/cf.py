"""The Vectorize commands of the ``cf`` command line against the emulator. Argument: the folder it is installed in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

COMMAND = Path(sys.argv[1]) / "node_modules" / ".bin" / "cf"
ENVIRONMENT = {
    **os.environ,
    "CLOUDFLARE_BASE_URL": os.environ["VECTORIZE_API"],
    "CF_HIDE_COMMANDS": "0",  # the products that it does not announce yet, Vectorize among them
}


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COMMAND, "vectorize", "indexes", *command.split(), *arguments],
        env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    print(f"  vectorize indexes {command} {' '.join(arguments)[:60]}", flush=True)
    return done


def cf(command: str, *arguments: str) -> Any:
    """Run one command; give what it prints as JSON."""
    done = run(command, *arguments)
    if done.returncode:
        raise SystemExit(f"cf vectorize indexes {command} failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def by_hand(body: bytes) -> str:
    """Upsert vectors without ``cf``; give the mutation id."""
    account, token = os.environ["CLOUDFLARE_ACCOUNT_ID"], os.environ["CLOUDFLARE_API_TOKEN"]
    request = urllib.request.Request(
        f"{os.environ['VECTORIZE_API']}/accounts/{account}/vectorize/v2/indexes/docs/upsert",
        data=body,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["result"]["mutationId"])


def vector(number: int) -> dict[str, object]:
    return {
        "id": f"v{number}",
        "values": [float(place == number) for place in range(32)],
        "metadata": {"n": number},
    }


with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
    file.writelines(json.dumps(vector(number)) + "\n" for number in range(30))
    file.flush()
    cf("create", "--name", "docs", "--config-dimensions", "32", "--config-metric", "cosine")
    again = run("create", "--name", "docs", "--config-dimensions", "32", "--config-metric", "cosine")
    assert again.returncode, again.stdout
    assert "vectorize.index.duplicate_name" in again.stdout + again.stderr, again
    assert [item["name"] for item in cf("list")] == ["docs"]
    assert cf("get", "docs")["config"] == {"dimensions": 32, "metric": "cosine"}
    for command in ("insert", "upsert"):
        # cf 0.0.5 sends {"type": "Buffer", "data": [...]}, which is no vector to the service either.
        refused = run(command, "docs", "--file", file.name)
        assert not refused.returncode or "[40023]" in refused.stdout + refused.stderr, refused
        print(f"    {'its own fault: refused with code 40023' if refused.returncode else 'ok'}", flush=True)
    mutation = by_hand(Path(file.name).read_bytes())
    time.sleep(0.3)  # until the write can be seen
    info = cf("info", "docs")
    assert (info["vectorCount"], info["processedUpToMutation"]) == (30, mutation), info
    query = {"vector": vector(7)["values"], "topK": 1, "returnMetadata": "all"}
    (match,) = cf("query", "docs", "--vector", "[]", "--body", json.dumps(query))["matches"]
    assert (match["id"], match["metadata"]) == ("v7", {"n": 7}), match
    assert len(cf("list-vectors", "docs", "--count", "20")["vectors"]) == 20
    (found,) = cf("get-by-ids", "docs", "--body", '{"ids": ["v1", "nobody"]}')
    assert found["id"] == "v1", found
    assert cf("metadata-index-create", "docs", "--property-name", "n", "--index-type", "number")["mutationId"]
    time.sleep(0.3)
    assert cf("metadata-index-list", "docs")["metadataIndexes"][0]["propertyName"] == "n"
    assert cf("metadata-index-delete", "docs", "--property-name", "n")["mutationId"]
    assert cf("delete-by-ids", "docs", "--body", '{"ids": ["v1"]}')["mutationId"]
    cf("delete", "docs")
