"""What the docs say is there, and what is there is in the docs."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest

from airflow_provider_vectorize import get_provider_info
from tests.versions import AIRFLOW

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "airflow_provider_vectorize"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CODE = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()

sys.path.insert(0, str(ROOT / "scripts"))


def prose(path: Path) -> str:
    return re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_hold(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def test_every_page_is_in_the_contents():
    listed = re.findall(r"^([a-z-]+)$", (ROOT / "docs" / "index.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in ROOT.glob("docs/*.md") if page.stem != "index")


def test_every_xcom_key_and_metric_is_documented():
    keys = set(re.findall(r'xcom_push\([^)]*key="(\w+)"', CODE)) | {"report", "index_url", "rejects_url"}
    metrics = set(re.findall(r'Stats\.\w+\("([\w.]+)"', CODE))
    assert metrics
    assert {name for name in keys | metrics if f"`{name}`" not in REFERENCE} == set()


def test_every_field_of_the_connection_is_documented():
    [connection] = get_provider_info()["connection-types"]
    page = (ROOT / "docs" / "connection.md").read_text()
    assert {name for name in connection["conn-fields"] if f"`{name}`" not in page} == set()


def test_every_reason_to_refuse_a_record_has_its_remedy():
    records = (PACKAGE / "ingest" / "records.py").read_text()
    codes = set(re.findall(r'"((?:not|invalid|wrong|line|record|id|metadata|namespace)_[a-z_]+)"', records))
    assert "wrong_dimensions" in codes
    assert {code for code in codes if f"`{code}`" not in ERRORS} == set()


def test_every_test_that_the_threat_table_names_is_there():
    text = (ROOT / "SECURITY.md").read_text()
    rows = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?` \|$", text, flags=re.MULTILINE)
    _, _, *threats = re.findall(r"^\|.*", text, flags=re.MULTILINE)
    assert len(rows) == len(threats) > 20
    for path, name in rows:
        assert f"def {name}(" in (ROOT / path).read_text() if name else (ROOT / path).exists(), (path, name)


def test_the_registry_lists_the_modules_of_the_provider_info():
    text = (ROOT / ".airflow-registry.yaml").read_text()
    info = get_provider_info()
    sections = ("hooks", "operators", "sensors", "triggers")
    modules = [
        module for section in sections for entry in info[section] for module in entry["python-modules"]
    ]
    assert sorted(re.findall(r"module: (\S+)", text)) == sorted(modules)


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="the list is that of the main Airflow, which has retry policies")
class TestPublicNames:
    def test_they_are_those_of_the_list(self):
        from public_names import public_names

        assert public_names() == (ROOT / "tests" / "public_names.txt").read_text().splitlines()

    def test_every_module_of_theirs_is_in_the_reference(self):
        from public_names import MODULES, PACKAGE

        pages = REFERENCE + ERRORS
        furniture = {"emulator"}
        missing = {name for name in MODULES if f":: {PACKAGE}.{name}" not in pages} - furniture
        assert missing == set()

    def test_every_parameter_of_an_operator_is_documented_and_every_documented_one_exists(self):
        import importlib

        for place in ("operators.index", "operators.vectorize", "operators.vectors", "sensors.vectorize"):
            module = importlib.import_module(f"airflow_provider_vectorize.{place}")
            for name, kind in vars(module).items():
                if not inspect.isclass(kind) or kind.__module__ != module.__name__ or name.startswith("_"):
                    continue
                ours = [
                    each for each in kind.__mro__ if each.__module__.startswith("airflow_provider_vectorize")
                ]
                said = set(re.findall(r":param (\w+):", "\n".join(each.__doc__ or "" for each in ours)))
                taken = {
                    parameter
                    for each in ours
                    if "__init__" in vars(each)
                    for parameter in inspect.signature(each.__init__).parameters
                } - {"self", "kwargs"}
                assert taken - said == set(), name
                assert said - taken == set(), name
