"""The example of the documentation works as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.database import migrate

PAGE = Path(__file__).parents[2] / "docs" / "emulator.md"


def test_the_example_of_testing_a_dag_passes(tmp_path: Path) -> None:
    conftest, dag, test = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    if version("apache-airflow").startswith("2."):
        # As the comment in the example says.
        dag = dag.replace("from airflow.sdk import DAG", "from airflow import DAG")
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "load.py").write_text(dag)
    (tmp_path / "test_load.py").write_text(test)
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    migrate(tmp_path / "airflow")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
