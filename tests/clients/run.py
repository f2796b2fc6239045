"""Run clients of others, as their registries ship them, against the emulator: nothing changed but the base URL.

Each client gets an environment of its own below ``.work/clients``, made at the first run. This is not collected
by pytest, since it installs packages and takes minutes: ``make clients``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_provider_vectorize.emulator import Emulator

HERE = Path(__file__).parent
WORK = HERE.parents[1] / ".work" / "clients"
ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "0123456789012345678901234567890123456789"
#: The newest wrangler that a Node runs, by the least Node that runs it.
WRANGLERS = {(22, 12): "wrangler@4.164.0", (20, 3): "wrangler@4.86.0"}
#: @distilled.cloud/cloudflare imports modules that effect has moved since.
EFFECT = "effect@4.0.0-beta.100"


def python_environment(package: str) -> Path:
    """Install a PyPI package into a virtual environment of its own; give its interpreter."""
    folder = WORK / f"pypi-{package}"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        venv.create(folder, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", package]
        subprocess.run(command, check=True)
        (folder / ".ready").touch()
    return python


def node_environment(*packages: str) -> Path:
    """Install npm packages into a folder of their own, without a lock file; give the folder."""
    folder = WORK / "npm-{}".format(packages[0].strip("@").replace("/", "-"))
    if not (folder / ".ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        command = [
            "npm",
            "install",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            *packages,
        ]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (folder / ".ready").touch()
    return folder


def wrangler(node: str) -> str:
    """Choose the wrangler that a Node runs.

    :param node: what ``node --version`` prints.
    :raises SystemExit: if there is none.
    """
    version = tuple(map(int, node.strip().lstrip("v").split(".")[:2]))
    for least, package in WRANGLERS.items():
        if version >= least:
            return package
    raise SystemExit(
        f"clients: FAILED: wrangler needs Node 20.3 or later (22.12 for its newest), this is {node.strip()}"
    )


def node_script(name: str, *packages: str) -> list[str]:
    """Give the command that runs a script with npm packages."""
    folder = node_environment(*packages)
    # Node looks for packages from where the script is.
    script = folder / name
    script.write_text((HERE / name).read_text())
    return ["node", str(script)]


def python_script(name: str, package: str) -> list[str]:
    """Give the command that runs a script with a PyPI package."""
    return [str(python_environment(package)), str(HERE / name)]


def commands(node: str) -> dict[str, Callable[[], list[str]]]:
    """Give for each client what makes the command that tries it."""
    newest = wrangler(node)
    return {
        f"{newest} (npm)": lambda: [sys.executable, str(HERE / "wrangler.py"), str(node_environment(newest))],
        "cf (npm)": lambda: [sys.executable, str(HERE / "cf.py"), str(node_environment("cf"))],
        "cloudflare (npm)": lambda: node_script("cloudflare_npm.mjs", "cloudflare"),
        "@mastra/vectorize (npm)": lambda: node_script("mastra_vectorize_npm.mjs", "@mastra/vectorize"),
        "@distilled.cloud/cloudflare (npm)": lambda: node_script(
            "distilled_npm.mjs", "@distilled.cloud/cloudflare", EFFECT
        ),
        "cloudflare (PyPI)": lambda: python_script("cloudflare_pypi.py", "cloudflare"),
        "langchain-cloudflare (PyPI)": lambda: python_script(
            "langchain_cloudflare_pypi.py", "langchain-cloudflare"
        ),
    }


def attempt(make: Callable[[], list[str]]) -> tuple[bool, str]:
    """Try one client against an emulator of its own; give whether it went well, and all that it printed."""
    command = make()
    home = WORK / "home"
    home.mkdir(exist_ok=True)
    # Writes take a moment to be seen, as with the real service, so that clients that wait do wait.
    with Emulator(account=ACCOUNT, token=TOKEN, visibility=("delay", 0.2)) as emulator:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONUNBUFFERED": "1",
            "CI": "true",
            "VECTORIZE_API": f"{emulator.url}/client/v4",
            "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
            "CLOUDFLARE_API_TOKEN": TOKEN,
        }
        started = time.monotonic()
        done = subprocess.run(
            command, env=environment, timeout=600, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        seconds, requests = time.monotonic() - started, len(emulator.log())
    good = done.returncode == 0
    return good, f"{done.stdout}  {'ok' if good else 'FAILED'}: {requests} requests in {seconds:.0f} s"


def main() -> int:
    """Run all clients, two at a time; the last line says how it went."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("clients: FAILED: Node and npm are not installed")
        return 1
    node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout
    print(f"Node {node.strip()}")
    WORK.mkdir(parents=True, exist_ok=True)
    tried = commands(node)
    failed = []
    with ThreadPoolExecutor(2) as pool:
        for client, (good, text) in zip(tried, pool.map(attempt, tried.values()), strict=True):
            print(f"{client}:\n{text}", flush=True)
            if not good:
                failed.append(client)
    print(
        f"clients: FAILED: {', '.join(failed)}"
        if failed
        else f"clients: ok: {len(tried)} clients of others did all they can"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
