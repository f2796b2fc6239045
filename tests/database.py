"""The metadata database of a fresh Airflow, migrated once for all tests: a migration takes ten seconds of CPU."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import airflow

WORK = Path(__file__).parent.parent / ".work"


def migrate(home: Path) -> None:
    """Put a database as ``airflow db migrate`` makes it into an Airflow home."""
    home.mkdir(exist_ok=True)
    shutil.copy(_template(), home / "airflow.db")


def _template() -> Path:
    WORK.mkdir(exist_ok=True)
    made = WORK / f"airflow-{airflow.__version__}.db"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            home = made.with_suffix(".home")
            shutil.rmtree(home, ignore_errors=True)
            environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
            environment.pop("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", None)
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            subprocess.run(command, env=environment, check=True, capture_output=True)
            (home / "airflow.db").replace(made)
            shutil.rmtree(home)
    return made
