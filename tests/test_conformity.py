"""What Airflow's own repository checks of its providers, and what its manager of providers knows of this one."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import logging
import textwrap
from pathlib import Path

import pytest
from airflow.providers_manager import ProvidersManager

from airflow_provider_vectorize import __version__, get_provider_info
from tests.versions import AIRFLOW, DagBag, DagSerialization, serialized

ROOT = Path(__file__).parent.parent
INFO = get_provider_info()
EXAMPLES = ROOT / "example_dags"
LISTED = [
    module
    for section in ("operators", "sensors")
    for entry in INFO[section]
    for module in entry["python-modules"]
]


def templated() -> list[type]:
    """Give the public operators and sensors."""
    modules = map(importlib.import_module, LISTED)
    return [
        kind
        for module in modules
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and name.endswith(("Operator", "Sensor"))
    ]


def assigned(kind: type) -> set[str]:
    """Give what the constructors of a class themselves assign as it was given: ``self.name = name``."""
    found: set[str] = set()
    for each in kind.__mro__:
        if "__init__" not in vars(each) or not each.__module__.startswith("airflow_provider_vectorize"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each.__init__)))
        for node in ast.walk(body):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                [target] = node.targets
                if isinstance(target, ast.Attribute) and target.attr == node.value.id:
                    found.add(target.attr)
    return found


@pytest.mark.parametrize("kind", templated(), ids=lambda kind: kind.__name__)
def test_every_template_field_is_set_by_the_constructor_as_it_was_given(kind):
    assert kind.template_fields
    assert set(kind.template_fields) - assigned(kind) == set()


def test_the_manager_of_providers_knows_all_of_it_without_a_warning(caplog):
    caplog.set_level(logging.WARNING)
    manager = ProvidersManager()
    assert manager.providers["airflow-provider-vectorize"].version == __version__
    hook = manager.hooks["vectorize"]
    assert (hook.connection_type, hook.hook_name) == ("vectorize", "Cloudflare Vectorize")
    assert set(INFO["extra-links"]) <= set(manager.extra_links_class_names)
    triggers = {module for entry in INFO["triggers"] for module in entry["python-modules"]}
    assert triggers <= {trigger.trigger_class_name for trigger in manager.trigger}
    assert [text for text in caplog.messages if "vectorize" in text.lower()] == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_dag_can_be_stored_and_read_again(path):
    if path.stem == "example_vectorize_approval" and AIRFLOW < (3, 1):
        pytest.skip("approvals came with Airflow 3.1")
    bag = DagBag(dag_folder=str(path))
    assert bag.dags
    for dag in bag.dags.values():
        stored = serialized(dag)
        read = DagSerialization.from_dict(json.loads(stored))
        assert sorted(read.task_ids) == sorted(dag.task_ids)
