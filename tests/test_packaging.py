"""What is shipped."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


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
