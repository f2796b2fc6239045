"""Run an example DAG end to end in real Airflow against the local emulator, and show what arrived.

Needs no account. Called by ``make demo``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.emulator import Emulator

ROOT = Path(__file__).parent.parent
ACCOUNT = "0" * 32
TOKEN = "a-token-that-the-emulator-accepts"
INDEX = "passages"
QUESTION = "oceans-04"


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def airflow(*arguments: str, home: str, emulator: Emulator) -> None:
    """Run an Airflow command with a home of its own; show its output only when it fails."""
    environment = os.environ | {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_VECTORIZE_DEFAULT": f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http",
    }
    log = Path(home) / "output.log"
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    lines = log.read_text().splitlines()
    if done.returncode:
        print("\n".join(lines))
        raise SystemExit(f"demo: failed: airflow {' '.join(arguments)} ended with {done.returncode}")
    for line in lines:
        # The lines of the provider itself, without Airflow's own.
        if "airflow_provider_vectorize" in line or "can be seen" in line:
            print(f"    {line}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="vectorize-demo-") as home, Emulator() as emulator:
        emulator.set_visibility("delay", 2.0)
        say(
            f"the emulator listens on {emulator.url}; a write becomes visible after 2 s, as on the real service"
        )
        say("setting up Airflow's database")
        airflow("db", "migrate", home=home, emulator=emulator)
        say("running the DAG example_vectorize_upsert: create index -> upsert file -> wait -> query")
        airflow("dags", "test", "example_vectorize_upsert", home=home, emulator=emulator)

        uploads = [row for row in emulator.log() if row["operation"] == "upsert"]
        accepted = sum(row["vectors"] for row in uploads if row["status"] == 200)
        client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)
        info = client.index_info(INDEX)
        say(f"index {INDEX!r} holds {info.vector_count} vectors; watermark {info.processed_up_to_mutation}")
        if not accepted or info.vector_count != accepted:
            raise SystemExit(
                f"demo: failed: {accepted} vectors were accepted, the index holds {info.vector_count}"
            )
        if info.processed_up_to_mutation != uploads[-1]["mutation_id"]:
            raise SystemExit("demo: failed: the last mutation cannot be seen")

        matches = client.query(INDEX, vector_id=QUESTION, top_k=5, return_metadata="all")
        if len(matches) != 5 or matches[0].id != QUESTION:
            raise SystemExit(f"demo: failed: the query answered {matches}")
        say(f"nearest to: {matches[0].metadata['text']}")
        for match in matches[1:]:
            print(f"    {match.score:.3f}  [{match.metadata['topic']}] {match.metadata['text']}")
    say(f"ok: {accepted} vectors accepted, mutation {uploads[-1]['mutation_id']} visible, query answered")


if __name__ == "__main__":
    main()
