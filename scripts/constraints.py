"""Resolve ``constraints.txt``: one version of each package, or one with a marker, for every Python that is supported.

Called by ``make constraints``, and with ``--check`` by ``make lint``: the file must be what a resolution for all of
these Pythons gives that starts from it. A pin that holds on the Python of one machine alone is found by that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
HEADER = """\
# Versions that the checks run with, on every Python that is supported. Names and versions only: the index is the
# installer's choice. Made by `make constraints`.
"""


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the file does not hold")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that go together")
    arguments = parser.parse_args()
    before = CONSTRAINTS.read_text()
    after = HEADER + _resolve("" if arguments.upgrade else before)
    if not arguments.check:
        CONSTRAINTS.write_text(after)
        return 0
    if after != before:
        print("constraints.txt does not hold for every supported Python; run `make constraints`. It lacks:")
        print("\n".join(sorted(set(after.splitlines()) - set(before.splitlines()))))
        return 1
    print("constraints.txt holds for every supported Python")
    return 0


def _resolve(preferred: str) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = project["requires-python"].removeprefix(">=")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "constraints.txt"
        result.write_text(preferred)  # uv keeps what stands here already, as far as it can
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--extra=dev"]
        options = [f"--python-version={lowest}", "--no-header", "--no-annotate", "--no-emit-index-url"]
        subprocess.run(
            [*command, *options, "--no-emit-find-links", f"--output-file={result}", "pyproject.toml"],
            cwd=ROOT,
            check=True,
        )
        return result.read_text()


if __name__ == "__main__":
    sys.exit(main())
