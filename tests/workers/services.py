"""Debian's Redis, PostgreSQL and MariaDB, each on loopback with a port and a folder of its own, ended by pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.real.live import wait_until

PACKAGES = {
    "redis-server": "redis-server",
    "initdb": "postgresql",
    "postgres": "postgresql",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}


def program(name: str) -> str:
    """Find a program; Debian keeps those of PostgreSQL off the path."""
    places = [os.environ["PATH"], "/usr/sbin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise SystemExit(f"Needs Debian's package {PACKAGES[name]} (apt-get install it): there is no {name}")
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: Sequence[str], folder: Path, port: int, user: str | None) -> Iterator[None]:
    """Run a server until the block ends."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, user=user, start_new_session=True
        )
        try:
            wait_until(lambda: answers(port), f"{command[0]} answers", 60)
            yield
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def folder_of(user: str) -> Iterator[tuple[Path, str | None]]:
    """Make a folder for a server, which may not run as root."""
    with tempfile.TemporaryDirectory(prefix="vectorize-service-") as name:
        as_root = os.geteuid() == 0
        if as_root:
            shutil.chown(name, user)
        yield Path(name), user if as_root else None


@contextmanager
def redis() -> Iterator[str]:
    """Give the URL of a Redis."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vectorize-service-") as name:
        command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with running(command, Path(name), port, None):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres() -> Iterator[str]:
    """Give what follows the scheme in the URL of a database of a PostgreSQL."""
    port = free_port()
    with folder_of("postgres") as (folder, user):
        data = str(folder / "data")
        make = [program("initdb"), "-D", data, "-U", "airflow", "-A", "trust", "-E", "UTF8"]
        subprocess.run(make, check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL)
        command = [program("postgres"), "-D", data, "-p", str(port), "-k", str(folder)]
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]
        with running([*command, *options], folder, port, user):
            yield f"airflow@127.0.0.1:{port}/postgres"


@contextmanager
def mariadb() -> Iterator[str]:
    """Give what follows the scheme in the URL of a database of a MariaDB."""
    port = free_port()
    with folder_of("mysql") as (folder, user):
        data, socket_path = f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}"
        make = [
            program("mariadb-install-db"),
            "--no-defaults",
            data,
            "--auth-root-authentication-method=normal",
        ]
        subprocess.run(
            [*make, "--skip-test-db"], check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL
        )
        command = [program("mariadbd"), "--no-defaults", data, socket_path, f"--port={port}"]
        options = ["--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0"]
        with running([*command, *options], folder, port, user):
            order = (
                "CREATE DATABASE airflow CHARACTER SET utf8mb4; CREATE USER airflow@'127.0.0.1' IDENTIFIED BY 'x';"
                "GRANT ALL ON airflow.* TO airflow@'127.0.0.1';"
            )
            subprocess.run(
                ["mariadb", "--no-defaults", socket_path, "-uroot", "-e", order], check=True, cwd=folder
            )
            yield f"airflow:x@127.0.0.1:{port}/airflow"
