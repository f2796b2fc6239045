"""The Python on the pages runs, in the order of each page, against the emulator."""

from __future__ import annotations

import gzip
import re
import textwrap
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from tests.surface.conftest import ndjson
from tests.versions import AIRFLOW, DagBag

ROOT = Path(__file__).parent.parent.parent
#: The page on the emulator has a test file of a user, which tests/emulator/test_docs.py runs.
PAGES = sorted({ROOT / "README.md", *ROOT.glob("docs/*.md")} - {ROOT / "docs" / "emulator.md"})
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
#: What stands above the fragments.
HEAD = """
from hashlib import sha256
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.index import *
from airflow_provider_vectorize.operators.sync import *
from airflow_provider_vectorize.operators.vectorize import *
from airflow_provider_vectorize.operators.vectors import *
from airflow_provider_vectorize.sensors.vectorize import *
from tests.surface.test_pages import embed, embed_everything, read_passages
INDEX, files = "passages", ["/data/passages.ndjson", "/data/docs.ndjson"]
"""
#: Of tasks that a fragment only defines, how they are called.
CALLS = {"def load(chunks)": 'load([{"id": "a", "text": "of a"}])', "def load():": "load()"}


def embed(text: str) -> list[float]:
    return [byte / 64 for byte in sha256(text.encode()).digest()]


def read_passages():
    yield from ((f"p{n}", f"passage {n}") for n in range(5))


def embed_everything():
    for id_, text in read_passages():
        content_hash = sha256(text.encode()).hexdigest()
        yield {"id": id_, "values": embed(text), "metadata": {"text": text, "content_hash": content_hash}}


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


def test_there_are_blocks():
    assert sum(len(blocks(page)) for page in PAGES) > 12


@pytest.fixture
def world(emulator, tmp_path, monkeypatch):
    """The index and the data that the pages speak of; gives what makes a block of here and of soon."""
    for name in ("passages", "rag", "arriving"):
        emulator.create_index(name, dimensions=32, metric="cosine")
    text = ndjson(list(embed_everything()))
    (tmp_path / "passages").mkdir()
    now = datetime.now(UTC)
    days = [f"{day:%Y-%m-%d}.ndjson" for day in (now, now + timedelta(days=1))]
    for name in ("docs.ndjson", "passages.ndjson", "big.ndjson", *days):
        (tmp_path / name).write_text(text)
    (tmp_path / "passages" / "1.ndjson.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_BACKUPS", str(tmp_path / "backups"))
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_INBOX", str(tmp_path))

    def here_and_soon(block: str) -> str:
        block = re.sub(r"/data/|s3://mine@bucket/", f"{tmp_path}/", block)
        return re.sub(r"\b(settled_seconds|poke_interval)=\d+", r"\1=0.1", block)

    return here_and_soon


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_code_of_a_page_runs(world, run_dag, tmp_path, page):
    names: dict = {}
    exec(world(HEAD), names)
    for number, block in enumerate(map(world, blocks(page)), start=1):
        if "policies" in block and AIRFLOW < (3, 3):
            continue
        if "with DAG(" in block:
            text = block
        elif re.search(r"^@task|Vectorize\w+(Operator|Sensor)\b", block, flags=re.MULTILINE):
            calls = [call for begin, call in CALLS.items() if begin in block]
            body = textwrap.indent("\n".join([block, *calls]), "    ")
            text = world(HEAD) + f'\nwith DAG("{page.stem.lower()}_{number}", schedule=None):\n{body}'
        else:
            exec(block, names)
            continue
        file = tmp_path / f"{page.stem}_{number}.py"
        file.write_text(text)
        bag = DagBag(dag_folder=str(file))
        assert bag.import_errors == {}
        assert bag.dags
        for dag in bag.dags.values():
            ended = run_dag(dag)
            assert ended.state == "success", f"{page.name}, block {number}: {ended.log}"
