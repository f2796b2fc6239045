"""The command, the object and the fixtures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from airflow_provider_vectorize.emulator import Emulator, __main__
from airflow_provider_vectorize.emulator.cursors import Cursors
from tests.emulator.api import Api, vector

COMMAND = [sys.executable, "-m", "airflow_provider_vectorize.emulator"]


def test_the_command_prints_where_it_listens_and_ends_when_told(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        began = time.monotonic()
        process = subprocess.Popen(
            [*COMMAND, "--port", "0", "--data", str(tmp_path / "v.db")], stdout=subprocess.PIPE, text=True
        )
        url = process.stdout.readline().removeprefix("listening on ").strip()
        assert url.startswith("http://127.0.0.1:")
        assert requests.get(f"{url}/_emulator/health", timeout=10).json() == {"status": "ok"}
        assert time.monotonic() - began < 5
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        process.stdout.close()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, list[Emulator]]:
    """Run the command in this process: it is told to stop as soon as it has started."""
    started: list[Emulator] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    enter = Emulator.__enter__

    def start(emulator: Emulator) -> Emulator:
        started.append(enter(emulator))
        os.kill(os.getpid(), signal.SIGTERM)
        return emulator

    monkeypatch.setattr(Emulator, "__enter__", start)
    try:
        return __main__.main(["--port", "0", *arguments]), started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_command_takes_all_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, (emulator,) = run(
        monkeypatch, "--account", "a", "--token", "t", "--visibility", "delay:0.5", "--rate-limit", "1200/300",
        "--plan", "free", "--status", "index_not_found=400", "--status", "duplicate_name=400", "--deleted-seconds", "5",
        "--keep-deleted-names", "--refuse-ndjson-boundary", "--refuse-null-metadata", "--created-status", "201",
    )  # fmt: skip
    assert status == 0
    assert (emulator.account, emulator.token) == ("a", "t")
    assert capsys.readouterr().out == f"listening on {emulator.url}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--visibility", "never"], ["--visibility", "delay:x"], ["--rate-limit", "1200"], ["--rate-limit", "0/300"],
        ["--status", "nothing=400"], ["--plan", "none"], ["--port", "x"], ["--status", "index_not_found=7"],
        ["--host", "nowhere.invalid."], ["--created-status", "204"],
    ],
)  # fmt: skip
def test_the_command_refuses_a_bad_setting(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        __main__.main(arguments)
    assert "error: " in capsys.readouterr().err


def test_the_command_warns_when_it_listens_beyond_loopback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Bound to loopback all the same: a test opens no port to the network.
    bind = socket.socket.bind
    monkeypatch.setattr(socket.socket, "bind", lambda self, address: bind(self, ("127.0.0.1", *address[1:])))
    assert run(monkeypatch, "--host", "0.0.0.0")[0] == 0
    assert capsys.readouterr().err.startswith("warning: listening on 0.0.0.0: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_command_listens_on_loopback_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    status, (emulator,) = run(monkeypatch, "--host", host)
    assert status == 0
    assert f"[{host}]" in emulator.url if ":" in host else host in emulator.url
    assert capsys.readouterr().err == ""


def test_the_command_says_why_it_cannot_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["--port", "0", "--data", str(tmp_path / "nowhere" / "v.db")]) == 1
    (tmp_path / "text").write_text("this is no database" * 100)
    assert __main__.main(["--port", "0", "--data", str(tmp_path / "text")]) == 1
    with Emulator() as emulator:
        assert __main__.main(["--port", str(emulator.port)]) == 1
    assert capsys.readouterr().err.count("cannot start on port") == 3


def start_up() -> float:
    """Start the command; give the seconds until it answers."""
    began = time.monotonic()
    process = subprocess.Popen([*COMMAND, "--port", "0"], stdout=subprocess.PIPE, text=True)
    url = process.stdout.readline().split()[-1]
    requests.get(f"{url}/_emulator/health", timeout=10)
    seconds = time.monotonic() - began
    process.terminate()
    process.wait()
    process.stdout.close()
    return seconds


def test_it_starts_in_under_a_second() -> None:
    # One of ten is enough here, as others may take the machine; `make bench-emulator` tells the median.
    assert any(start_up() < 1 for _ in range(10))


@pytest.mark.parametrize("module", ["airflow_provider_vectorize", "airflow_provider_vectorize.emulator"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"""
import sys, {module}
loaded = set(sys.modules)
heavy = loaded & {{"numpy", "python_multipart", "airflow", "requests"}}
ours = {{name for name in loaded if name.startswith("airflow_provider_vectorize.")}}
others = {{name for name in ours if not name.startswith("airflow_provider_vectorize.emulator")}}
assert not heavy and not others, (heavy, others)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_a_multipart_upload_says_what_is_missing(
    docs: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart.exceptions", None)
    status, _, message = docs.refused("POST", "/docs/upsert", files={"vectors": ("v", b"")})
    assert status == 501
    assert "[emulator] extra" in message


def test_an_emulator_takes_only_known_settings() -> None:
    with pytest.raises(TypeError):
        Emulator(colour="red")
    with pytest.raises(ValueError, match="mode must be one of"):
        Emulator(visibility="never")


def test_create_index_checks_the_configuration(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="no such configuration"):
        emulator.create_index("docs", dimensions=7)
    with pytest.raises(ValueError, match="no such configuration"):
        emulator.create_index("docs", metric="manhattan")


def test_a_cursor_expires_and_the_oldest_is_dropped() -> None:
    now = [0.0]
    cursors = Cursors(10, clock=lambda: now[0])
    first = cursors.first(1, ["a", "b", "c"], 1)
    assert first.expires == 10
    assert cursors.next(1, str(first.next_cursor), 5).ids == ["b", "c"]
    assert cursors.next(1, str(first.next_cursor), 1).ids == ["b"], "a cursor can be used again"
    assert cursors.next(2, str(first.next_cursor), 1) is None
    now[0] = 10
    assert cursors.next(1, str(first.next_cursor), 1) is None
    now[0] = 0
    for _ in range(1_000):
        cursors.first(1, ["a", "b"], 1)
    assert cursors.next(1, str(first.next_cursor), 1) is None


def test_the_connection_fixture_points_airflow_at_the_emulator(
    emulator: Emulator, vectorize_connection: str
) -> None:
    assert vectorize_connection == "vectorize_default"
    uri = os.environ["AIRFLOW_CONN_VECTORIZE_DEFAULT"]
    assert uri == f"vectorize://{emulator.account}:{emulator.token}@127.0.0.1:{emulator.port}/http"


FIXTURES_TEST = """
import os

pytest_plugins = ["airflow_provider_vectorize.emulator.pytest_plugin"]

def test_one(vectorize_connection, vectorize_emulator):
    vectorize_emulator.create_index("docs")
    assert "AIRFLOW_CONN_VECTORIZE_DEFAULT" in os.environ

def test_the_next_starts_anew(vectorize_emulator):
    vectorize_emulator.create_index("docs")
    assert "AIRFLOW_CONN_VECTORIZE_DEFAULT" not in os.environ
"""


def test_the_fixtures_work_in_a_project_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "test_dags.py").write_text(FIXTURES_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_requests_run_side_by_side(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"operation": "query", "kind": "hang", "seconds": 600}])
    with pytest.raises(requests.Timeout):
        docs.session.post(f"{docs.url}/docs/query", json={}, timeout=0.1)
    docs.upsert("docs", vector("a"))
