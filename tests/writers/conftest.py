"""Libraries that write Parquet, at work: each as its user calls it, in an environment of their own."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 or later, and there is none on the path: openjdk-17-jre-headless")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
    }
    session = sql.SparkSession.builder.master("local[1]").config(map=settings).getOrCreate()
    logging.getLogger("py4j").setLevel(logging.WARNING)  # otherwise it logs when pytest has closed the log
    yield session
    session.stop()


@pytest.fixture
def dlt(tmp_path, monkeypatch) -> Any:
    """The library, which keeps nothing elsewhere, and asks neither the network nor Airflow's variables."""
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.setenv("PROVIDERS__ENABLE_AIRFLOW_SECRETS", "false")
    return pytest.importorskip("dlt")
