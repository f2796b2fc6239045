"""Install the wheel on every supported Airflow, and run an example DAG with it. Called by ``make wheel``.

Of the checkout it uses the example DAG alone: the package is the wheel's, with the versions that its metadata ask for.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from matrix import PAIRS, ROOT, Pair, interpreter, run

WORK = ROOT / ".work" / "wheel"


def check(pair: Pair, wheel: Path) -> str:
    """Make an environment with the wheel, and run the demo in it; tell how it ended."""
    executable = interpreter(pair.python)
    if executable is None:
        return "its Python is not on this machine"
    folder = WORK / pair.name
    log, python = folder / "log", folder / "venv" / "bin" / "python"
    folder.mkdir(parents=True)
    uv = [sys.executable, "-m", "uv", "--quiet"]
    what = [f"apache-airflow=={pair.airflow}", "apache-airflow-providers-standard", f"{wheel}[emulator]"]
    ended = (
        run(*uv, "venv", "--python", executable, folder / "venv", log=log)
        and run(
            *uv, "pip", "install", "--python", python, "--exclude-newer", pair.published_by, *what, log=log
        )
        and run(*uv, "pip", "check", "--python", python, log=log)
        and run(python, ROOT / "scripts" / "demo.py", log=log)
    )
    return "ok" if ended else f"failed, see {log.relative_to(ROOT)}"


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    log = WORK / "log"
    if not run(sys.executable, "-m", "build", "--no-isolation", "--outdir", WORK, ROOT, log=log):
        raise SystemExit(f"wheel: failed: it cannot be built, see {log.relative_to(ROOT)}")
    [wheel] = WORK.glob("*.whl")
    newest = {pair.airflow: pair for pair in reversed(PAIRS) if not pair.lowest}
    ends = {}
    for pair in newest.values():
        ends[pair.name] = check(pair, wheel)
        print(f"wheel: Airflow {pair.airflow} on Python {pair.python}: {ends[pair.name]}", flush=True)
    if set(ends.values()) != {"ok"}:
        raise SystemExit("wheel: failed")
    print(f"wheel: ok: {wheel.name} runs on {len(ends)} versions of Airflow")


if __name__ == "__main__":
    main()
