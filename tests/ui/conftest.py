"""One Airflow, one emulator and one browser for all tests of this folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.serve import ROOT, TOKEN, Shown, shown


@pytest.fixture(scope="session")
def here() -> Iterator[Shown]:
    with tempfile.TemporaryDirectory(prefix="vectorize-ui-") as home, shown(Path(home)) as here:
        here.emulator.create_index("passages", dimensions=384, metric="cosine")
        yield here


@pytest.fixture(scope="session")
def browser(here):
    from tests.ui.browser import Browser

    pictures = Path(os.environ.get("VECTORIZE_PICTURES", ROOT / ".work" / "ui"))
    browser = Browser(here.airflow.url, pictures)
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def _no_token_is_on_any_page(browser):
    yield
    assert not [page for page in browser.seen if TOKEN in page or "another-" + TOKEN in page]
