"""Wait for 200 upserts of changed vectors among other writers: in the worker, in the triggerer, and by langchain.

The emulator applies writes 0.3 s late, and somebody else writes every 50 ms, so that the watermark seldom stops at a
mutation of ours. A wait is *early* when the vector does not read back as sent right after it, and *lost* when it ends
at its deadline of 10 s. Part of ``make clients``.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="vectorize-waits-"))

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import MutationTimeoutError
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.triggers.vectorize import deferral
from airflow_provider_vectorize.visibility import digest
from airflow_provider_vectorize.waiting import Wait
from tests.clients.run import ACCOUNT, HERE, TOKEN, python_environment

COUNT = 200
SECONDS = 10
INDEX = "docs"


def record(number: int) -> dict[str, object]:
    return {"id": f"v{number}", "values": [float(number + place + 1) for place in range(32)]}


def is_there(client: VectorizeClient, number: int) -> bool:
    sent = record(number)
    return [digest(vector.values, None, None) for vector in client.get_by_ids(INDEX, [str(sent["id"])])] == [
        digest(sent["values"], None, None)
    ]


def by_poking(client: VectorizeClient, sentinel: bool = False) -> Counter[str]:
    def upsert_and_wait(number: int) -> str:
        hook = VectorizeHook()
        report = hook.upsert(INDEX, vectors=[record(number)])
        try:
            hook.wait_for_mutation(INDEX, report, poll_interval=1, timeout=SECONDS, sentinel=sentinel)
        except MutationTimeoutError:
            return "lost"
        return "seen" if is_there(client, number) else "early"

    with ThreadPoolExecutor(20) as pool:
        return Counter(pool.map(upsert_and_wait, range(COUNT)))


def by_deferring(client: VectorizeClient, sentinel: bool = False) -> Counter[str]:
    def upsert_and_look(number: int) -> Wait:
        hook = VectorizeHook()
        report = hook.upsert(INDEX, vectors=[record(number)])
        wait = hook.begin_wait(INDEX, [report.target()], sentinel=sentinel)
        wait.look(hook.polling_client(SECONDS))
        return wait

    async def upsert_and_wait(number: int) -> str:
        wait = await asyncio.get_running_loop().run_in_executor(pool, upsert_and_look, number)
        if not wait.done:
            trigger = deferral("vectorize_default", wait, 1.0, SECONDS)["trigger"]
            async for event in trigger.run():
                if event.payload["status"] != "visible":
                    return "lost"
        there = await asyncio.get_running_loop().run_in_executor(pool, is_there, client, number)
        return "seen" if there else "early"

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(upsert_and_wait, range(COUNT)))

    with ThreadPoolExecutor(20) as pool:
        return Counter(asyncio.run(all_of_them()))


def by_langchain(client: VectorizeClient) -> Counter[str]:
    command = [
        python_environment("langchain-cloudflare"),
        HERE / "waits_langchain.py",
        str(COUNT),
        str(SECONDS),
    ]
    environment = {
        "PATH": os.environ["PATH"],
        "VECTORIZE_API": client.base_url,
        "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
        "CLOUDFLARE_API_TOKEN": TOKEN,
    }
    done = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    """Run them; the last line says how it went."""
    good = True
    for name, run, changed in (
        ("ours, in the worker", by_poking, True),
        ("ours, in the triggerer", by_deferring, True),
        ("langchain-cloudflare", by_langchain, True),
        ("ours, in the worker, unchanged vectors, sentinel=True", partial(by_poking, sentinel=True), False),
        (
            "ours, in the triggerer, unchanged vectors, sentinel=True",
            partial(by_deferring, sentinel=True),
            False,
        ),
        ("fences alone, in the worker, unchanged vectors", by_poking, False),
        ("fences alone, in the triggerer, unchanged vectors", by_deferring, False),
    ):
        with Emulator() as emulator:
            emulator.create_index(INDEX, dimensions=32, metric="cosine")
            client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)
            # Vectors of these ids are there, with other values or the same.
            there = [{"id": f"v{n}", "values": [1.0] * 32} if changed else record(n) for n in range(COUNT)]
            client.upsert(INDEX, "\n".join(map(json.dumps, there)).encode())
            emulator.set_visibility("delay", 0.3)
            emulator.foreign(INDEX, writes=100_000, every=0.05)
            uri = f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http"
            os.environ["AIRFLOW_CONN_VECTORIZE_DEFAULT"] = uri
            outcomes = run(client)
        print(
            f"{name}: of {COUNT} waits {outcomes['seen']} seen, {outcomes['early']} early, {outcomes['lost']} lost",
            flush=True,
        )
        if name.startswith("ours"):
            good = good and outcomes == {"seen": COUNT}
    print("waits: ok: none of ours was early or lost" if good else "waits: FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
