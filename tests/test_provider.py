"""What Airflow is told about the provider, and what it makes of it."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_vectorize import __version__, get_provider_info
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from tests.versions import AIRFLOW

ROOT = Path(__file__).parent.parent
INFO = get_provider_info()
#: Modules that hold no class of Airflow's kind, or only parts of one.
PARTS = {
    "hooks": (
        "base",
        "deletes",
        "exports",
        "indexes",
        "loads",
        "queries",
        "sync",
        "uploads",
        "verify",
        "waits",
    ),
    "operators": ("common", "resolving", "verifying", "writing"),
    "sensors": ("mutations",),
    "triggers": ("poller",),
}
SECTIONS = ("hooks", "operators", "sensors", "triggers")


def schema(name: str) -> dict:
    path = Path(airflow.__file__).parent / name
    if not path.exists():
        pytest.skip(f"this Airflow does not ship {name}")
    return json.loads(path.read_text())


def listed(section: str) -> set[str]:
    return {module for entry in INFO.get(section, []) for module in entry["python-modules"]}


def test_the_info_is_valid():
    jsonschema.validate(INFO, schema("provider_info.schema.json"))


@pytest.mark.skipif(
    AIRFLOW < (3, 2), reason="before Airflow 3.2 this schema knew neither fields nor several tags"
)
def test_the_info_is_valid_under_the_stricter_schema_of_the_official_providers():
    jsonschema.validate(
        {**INFO, "state": "ready", "source-date-epoch": 1}, schema("provider.yaml.schema.json")
    )


def test_the_package_name_and_version_are_those_of_the_distribution():
    assert version(INFO["package-name"]) == __version__ == INFO["versions"][0]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_module_is_listed_and_every_listed_module_is_there(section):
    folder = ROOT / "airflow_provider_vectorize" / section
    public = {
        f"airflow_provider_vectorize.{section}.{path.stem}"
        for path in folder.glob("*.py")
        if path.stem not in ("__init__", *PARTS.get(section, ()))
    }
    assert listed(section) == public


@pytest.mark.parametrize("module", sorted(set().union(*map(listed, SECTIONS))))
def test_a_listed_module_imports_without_a_warning(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sys.modules.pop(module, None)
        importlib.import_module(module)


def test_every_public_operator_and_sensor_is_in_an_example_dag():
    public = set()
    for module in listed("operators") | listed("sensors"):
        tree = ast.parse(Path(importlib.import_module(module).__file__).read_text())
        names = {node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"}
        public |= {name for name in names if name.endswith(("Operator", "Sensor"))}
    assert public
    examples = "\n".join(path.read_text() for path in (ROOT / "example_dags").glob("*.py"))
    assert {name for name in public if f"{name}(" not in examples} == set()


def test_every_example_dag_is_a_how_to_guide_and_tagged_so():
    [integration] = INFO["integrations"]
    examples = sorted((ROOT / "example_dags").glob("*.py"))
    assert integration["how-to-guide"] == [f"/example_dags/{path.name}" for path in examples]
    assert [path.name for path in examples if '"example"' not in path.read_text()] == []


@pytest.fixture(scope="module")
def airflow_command(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    environment = os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    def run(*arguments: str) -> tuple[str, str]:
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return done.stdout, done.stderr

    return run


def test_airflow_lists_the_provider(airflow_command):
    out, err = airflow_command("providers", "get", "airflow-provider-vectorize", "--full", "-o", "json")
    [provider] = json.loads(out[out.index("[") :])
    assert provider["package-name"] == "airflow-provider-vectorize"
    assert provider["versions"] == [__version__]
    out, _ = airflow_command("providers", "list", "-o", "json")
    [row] = [
        row
        for row in json.loads(out[out.index("[") :])
        if row["package_name"] == "airflow-provider-vectorize"
    ]
    assert row["version"] == __version__
    assert "vectorize" not in err.lower()


def test_the_hook_itself_has_the_form():
    # Airflow before 3.2 does not look at what a class inherits.
    assert {"get_ui_field_behaviour", "get_connection_form_widgets"} <= vars(VectorizeHook).keys()


def test_airflow_knows_the_hook_without_a_warning(airflow_command):
    hooks, err = airflow_command("providers", "hooks", "-o", "json")
    rows = json.loads(hooks[hooks.index("[") :])
    [row] = [row for row in rows if row["connection_type"] == "vectorize"]
    assert row["class"] == "airflow_provider_vectorize.hooks.vectorize.VectorizeHook"
    assert row["conn_id_attribute_name"] == "conn_id"
    assert "vectorize" not in err.lower()


@pytest.mark.skipif(
    AIRFLOW == (3, 1), reason="these commands of 3.1 need Flask; its form itself does not, see below"
)
def test_airflow_knows_the_form(airflow_command):
    behaviours, _ = airflow_command("providers", "behaviours", "-o", "json")
    assert {"field_behaviours": "vectorize"} in json.loads(behaviours[behaviours.index("[") :])
    widgets, _ = airflow_command("providers", "widgets", "-o", "json")
    names = {
        name for name in INFO["connection-types"][0]["conn-fields"] if f"extra__vectorize__{name}" in widgets
    }
    assert names == set(INFO["connection-types"][0]["conn-fields"])


@pytest.mark.skipif(AIRFLOW < (3,), reason="Airflow 2 has the other form")
def test_the_form_of_airflow_3_has_every_field_with_its_type():
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
    from airflow.providers_manager import ProvidersManager

    ProvidersManager()._cleanup()  # what another test has asked 3.1 for has no form: its web server asks first
    [form] = [hook for hook in HookMetaService.hook_meta_data() if hook.connection_type == "vectorize"]
    assert form.standard_fields.password.title == "API token"
    types = {name: field["schema"]["type"][0] for name, field in form.extra_fields.items()}
    number = "number" if AIRFLOW >= (3, 2) else "string"  # the form of 3.1 knows whole numbers only
    assert types == {
        "index_name": "string",
        "auth_email": "string",
        "timeout": number,
        "max_attempts": "integer",
        "verify": "string",
    }


@pytest.mark.skipif(AIRFLOW >= (3,), reason="Airflow 3 has the other form")
class TestTheFormOfAirflow2:
    @pytest.fixture
    def form(self):
        from werkzeug.datastructures import MultiDict
        from wtforms import Form

        kind = type("ConnectionForm", (Form,), VectorizeHook.get_connection_form_widgets())
        return lambda **fields: kind(MultiDict(fields))

    @pytest.mark.parametrize(
        "fields",
        [
            dict.fromkeys(INFO["connection-types"][0]["conn-fields"], ""),
            {"index_name": "docs", "timeout": "7.5", "max_attempts": "3", "verify": "false"},
        ],
        ids=["left empty", "filled in"],
    )
    def test_what_is_filled_in_can_be_read(self, form, fields):
        filled = form(**fields)
        assert filled.validate()
        settings = ConnectionSettings.from_connection(
            Connection(conn_id="c", login="a" * 32, password="token", extra=json.dumps(filled.data))
        )
        expected = (7.5, 3, False) if fields["timeout"] else (60.0, 8, True)
        assert (settings.timeout, settings.max_attempts, settings.verify) == expected

    def test_a_number_of_attempts_must_be_one(self, form):
        assert not form(max_attempts="three").validate()
