"""The page for people, in a headless browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_vectorize.emulator import Emulator
from tests.emulator.api import Api, vector

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the PATH (Debian: apt install chromium)"
)


def render(url: str, profile: Path, milliseconds: int = 2_500) -> str:
    """Open a page in a browser, let so much time pass there, and give what the page is then."""
    done = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={profile}", f"--virtual-time-budget={milliseconds}", "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_is_served_as_html_and_is_not_logged(emulator: Emulator) -> None:
    response = requests.get(emulator.url, timeout=10)
    assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert "Vectorize emulator" in response.text
    assert "https://" not in response.text, "nothing is loaded from elsewhere"
    assert requests.head(emulator.url, timeout=10).status_code == 200
    assert emulator.log() == []
    assert requests.post(emulator.url, timeout=10).status_code == 404


def test_the_overview_tells_all_that_the_page_shows(emulator: Emulator, docs: Api) -> None:
    seen = docs.upsert("docs", vector("a"))
    emulator.set_visibility("delay", 600)
    waiting = docs.delete("docs", "a")
    emulator.add_faults([{"kind": "reset", "operation": "query"}])
    overview = requests.get(f"{emulator.url}/_emulator/overview", timeout=10).json()
    assert overview["visibility"] == {"mode": "delay", "value": 600}
    assert overview["indexes"] == [
        {
            "account": emulator.account, "name": "docs", "dimensions": 32, "metric": "cosine", "vectors": 1,
            "waiting": 1, "watermark": seen,
        }
    ]  # fmt: skip
    assert [(write["mutation_id"], write["visible"]) for write in overview["writes"]] == [
        (waiting, False),
        (seen, True),
    ]
    assert [row["operation"] for row in overview["requests"]] == ["delete_by_ids", "upsert"]
    assert all("headers" not in row for row in overview["requests"])
    assert overview["faults"] == emulator.faults()


def test_the_overview_is_bounded_however_much_was_written(emulator: Emulator, docs: Api) -> None:
    for number in range(120):
        docs.upsert("docs", vector(f"v{number}"))
    overview = emulator._control.overview()
    assert (len(overview["writes"]), len(overview["requests"])) == (50, 50)
    assert emulator._state._store._db.execute("SELECT count(*) FROM mutations").fetchone()[0] <= 51


@in_a_browser
def test_the_page_shows_indexes_writes_requests_and_faults(
    emulator: Emulator, docs: Api, tmp_path: Path
) -> None:
    seen = docs.upsert("docs", *(vector(f"v{number}") for number in range(1_234)))
    emulator.set_visibility("manual")
    waiting = docs.upsert("docs", vector("b"))
    docs.refused("GET", "/nobody/info")
    emulator.add_faults([{"kind": "drop", "share": 0.001, "operation": "upsert", "scope": "<b id=injected>"}])
    page = render(emulator.url, tmp_path)
    for text in (
        "<td>docs</td>",
        ">1,234<",
        seen,
        waiting,
        ">visible<",
        ">waiting<",
        ">404<",
        "<td>drop</td>",
        "manual",
    ):
        assert text in page, text
    assert "<b id=injected>" not in page, "what others sent is text, never HTML"
    assert "&lt;b id=injected&gt;" in page


@in_a_browser
def test_the_page_refreshes_itself(
    emulator: Emulator, docs: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    overview = emulator._control.overview

    def look() -> dict[str, Any]:
        asked.append(overview())
        docs.upsert("docs", vector(f"v{len(asked)}"))  # after this look, so that only a later one shows it
        return asked[-1]

    monkeypatch.setattr(emulator._control, "overview", look)
    page = render(emulator.url, tmp_path)
    assert len(asked) >= 2
    assert docs.watermark("docs")
    assert any(f">{look['indexes'][0]['vectors']}</td>" in page for look in asked[1:])
    assert asked[1]["indexes"][0]["vectors"] == 1
    assert "upsert" in page
