"""What is shipped."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    [wheel] = dist.glob("*.whl")
    return wheel


def test_the_sdist_holds_what_is_needed_to_build_and_to_read(dist):
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in names}
    assert {"airflow_provider_vectorize", "docs", "example_dags", "tests", "README.md", "LICENSE"} <= tops
    assert not tops & {".ci", ".venv", ".work", "benchmarks", "scripts"}
    assert "airflow_provider_vectorize/py.typed" in names


def test_the_description_has_no_link_that_leads_nowhere_outside_of_the_repository(wheel):
    [metadata] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("METADATA")]
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 5
    assert all(link.startswith("https://") for link in links)
    assert "Requires-Dist: apache-airflow!=3.0.*,>=2.11" in text


def test_the_wheel_holds_the_package_alone(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"airflow_provider_vectorize"}


def test_the_wheel_is_typed_licensed_and_found_by_airflow(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "airflow_provider_vectorize/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
    assert "[apache_airflow_provider]" in zipfile.ZipFile(wheel).read(entry_points).decode()


def test_the_installed_wheel_imports_without_anything_else(wheel, tmp_path):
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import airflow_provider_vectorize as it; print(it.__file__)"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(str(tmp_path))
