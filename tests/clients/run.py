"""Run official clients, as their registries ship them, against the emulator: nothing changed but the base URL.

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
from pathlib import Path

from airflow_provider_vectorize.emulator import Emulator

HERE = Path(__file__).parent
WORK = HERE.parents[1] / ".work" / "clients"
ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "0123456789012345678901234567890123456789"


def python_environment(package: str) -> Path:
    """Install a PyPI package into a virtual environment of its own; give its interpreter."""
    folder = WORK / f"pypi-{package}"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        venv.create(folder, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        subprocess.run(command, check=True)
        (folder / ".ready").touch()
    return python


def node_environment(package: str) -> Path:
    """Install an npm package into a folder of its own, without a lock file; give the folder."""
    folder = WORK / f"npm-{package}"
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
            package,
        ]
        subprocess.run(command, cwd=folder, check=True)
        (folder / ".ready").touch()
    return folder


def commands() -> dict[str, list[str]]:
    """Give the command that tries each client."""
    cloudflare_npm = node_environment("cloudflare")
    # Node looks for packages from where the script is.
    script = cloudflare_npm / "cloudflare_npm.mjs"
    script.write_text((HERE / "cloudflare_npm.mjs").read_text())
    return {
        "wrangler (npm)": [sys.executable, str(HERE / "wrangler.py"), str(node_environment("wrangler"))],
        "cloudflare (PyPI)": [str(python_environment("cloudflare")), str(HERE / "cloudflare_pypi.py")],
        "cloudflare (npm)": ["node", str(script)],
        "langchain-cloudflare (PyPI)": [
            str(python_environment("langchain-cloudflare")),
            str(HERE / "langchain_cloudflare_pypi.py"),
        ],
    }


def main() -> int:
    """Run all clients; the last line says how it went."""
    if shutil.which("npm") is None:
        print("clients: FAILED: Node and npm are not installed")
        return 1
    WORK.mkdir(parents=True, exist_ok=True)
    failed = []
    for client, command in commands().items():
        # Writes take a moment to be seen, as with the real service, so that clients that wait do wait.
        with Emulator(account=ACCOUNT, token=TOKEN, visibility=("delay", 0.2)) as emulator:
            home = WORK / "home"
            home.mkdir(exist_ok=True)
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "PYTHONUNBUFFERED": "1",
                "CI": "true",
                "VECTORIZE_API": f"{emulator.url}/client/v4",
                "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
                "CLOUDFLARE_API_TOKEN": TOKEN,
            }
            print(f"{client}:", flush=True)
            started = time.monotonic()
            status = subprocess.run(command, env=environment, timeout=600).returncode
            requests = len(emulator.log())
            print(
                f"  {'FAILED' if status else 'ok'}: {requests} requests in {time.monotonic() - started:.0f} s"
            )
            if status:
                failed.append(client)
    print(
        f"clients: FAILED: {', '.join(failed)}"
        if failed
        else "clients: ok: 4 official clients did all they can"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
