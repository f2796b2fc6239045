"""Every ``wrangler vectorize`` command against the emulator. Arguments: the folder wrangler is installed in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(sys.argv[1])
ENVIRONMENT = {
    **os.environ,
    "CLOUDFLARE_API_BASE_URL": os.environ["VECTORIZE_API"],
    "WRANGLER_SEND_METRICS": "false",
}
COUNT = 250


def wrangler(command: str, *arguments: str) -> str:
    """Run one command in an empty folder; give its output."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [FOLDER / "node_modules" / ".bin" / "wrangler", "vectorize", command, *arguments],
            cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"wrangler vectorize {command} failed:\n{done.stdout}\n{done.stderr}")
    print(f"  vectorize {command} {' '.join(arguments)[:60]}", flush=True)
    time.sleep(0.3)  # until the write can be seen
    return done.stdout


def as_json(text: str) -> object:
    """Parse the JSON that follows wrangler's banner."""
    start = min(
        place for place in (text.find("\n{"), text.find("\n["), text.find("{"), text.find("[")) if place >= 0
    )
    return json.loads(text[start : max(text.rfind("}"), text.rfind("]")) + 1])


def vector(number: int) -> dict[str, object]:
    values = [float(place == number % 32) for place in range(32)]
    return {
        "id": f"v{number}",
        "values": values,
        "metadata": {"n": number},
        "namespace": "a" if number % 2 else "b",
    }


with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
    file.writelines(json.dumps(vector(number)) + "\n" for number in range(COUNT))
    file.flush()
    wrangler("create", "docs", "--dimensions", "32", "--metric", "cosine", "--description", "for a test")
    assert [item["name"] for item in as_json(wrangler("list", "--json"))] == ["docs"]
    assert "cosine" in wrangler("get", "docs")
    wrangler("create-metadata-index", "docs", "--propertyName", "n", "--type", "number")
    listed = wrangler("list-metadata-index", "docs")
    assert "Number" in listed, listed
    wrangler("insert", "docs", "--file", file.name)
    wrangler("upsert", "docs", "--file", file.name, "--batch-size", "100")
    info = as_json(wrangler("info", "docs", "--json"))
    assert info["vectorCount"] == COUNT, info
    assert len(info["processedUpToMutation"]) == 36, info
    first = as_json(wrangler("list-vectors", "docs", "--count", "200", "--json"))
    rest = as_json(
        wrangler("list-vectors", "docs", "--count", "200", "--cursor", first["nextCursor"], "--json")
    )
    assert len(first["vectors"] + rest["vectors"]) == COUNT
    got = wrangler("get-vectors", "docs", "--ids", "v7", "v8")
    assert [item["id"] for item in as_json(got)] == ["v7", "v8"], got
    found = as_json(
        wrangler(
            "query", "docs", "--vector", *map(str, vector(7)["values"]), "--top-k", "3", "--namespace", "a",
            "--filter", '{"n": {"$gt": 38, "$lt": 104}}', "--return-metadata", "all", "--return-values",
        )
    )  # fmt: skip
    # Not $gte: wrangler knows it as "gte" without the sign, and sends no filter at all (4.86.0, 4.164.0).
    # All three score the same, so in any order; they differ from 7, which the filter leaves out, in nothing else.
    assert sorted(item["metadata"]["n"] for item in found["matches"]) == [39, 71, 103], found
    by_id = as_json(wrangler("query", "docs", "--vector-id", "v3"))
    assert by_id["count"] == 5, by_id
    wrangler("delete-vectors", "docs", "--ids", "v7", "v8")
    assert as_json(wrangler("info", "docs", "--json"))["vectorCount"] == COUNT - 2
    wrangler("delete-metadata-index", "docs", "--propertyName", "n")
    wrangler("delete", "docs", "--force")
    wrangler("create", "presets", "--preset", "@cf/baai/bge-small-en-v1.5")
