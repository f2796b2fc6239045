"""The manifest: what is known survives a kill at every write, and no two runs are ever both green."""

from __future__ import annotations

import random
from contextlib import contextmanager

import fsspec
import pytest

from airflow_provider_vectorize.client.errors import ManifestError
from airflow_provider_vectorize.sync.folder import Folder
from airflow_provider_vectorize.sync.lease import Lease
from airflow_provider_vectorize.sync.manifest import Manifest

INDEX = {
    "index": "docs",
    "created_on": "2026-01-01",
    "dimensions": 32,
    "metric": "cosine",
    "changed_by": "record",
}


@pytest.fixture(autouse=True)
def no_renewal(monkeypatch):
    """A lease of 0 seconds has run out at once, and is not renewed in the background."""
    monkeypatch.setattr(Lease, "_keep", lambda lease: None)


def mark(number: int) -> bytes:
    return bytes([number]) * 16


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Store(Folder):
    """A folder whose process can be killed right before or right after its n-th change."""

    def __init__(self, path, kill_at: float | None = None) -> None:
        super().__init__(fsspec.filesystem("file"), str(path), str(path))
        self.kill_at = kill_at
        self.changes = 0.0
        self.dead = False

    @contextmanager
    def change(self):
        for step in (0.0, 0.5):
            if self.dead or (self.kill_at is not None and self.changes + step >= self.kill_at):
                self.dead = True
                raise Killed
            if step == 0.0:
                yield
        self.changes += 1

    def create(self, file, content):
        with self.change():
            super().create(file, content)

    def replace(self, file, content):
        with self.change():
            super().replace(file, content)

    def write(self, file, blocks):
        with self.change():
            return super().write(file, blocks)

    def delete(self, files):
        for file in list(files):
            with self.change():
                super().delete([file])


def manifest(path, kill_at=None, seconds=0.0):
    return Manifest(Store(path, kill_at), lease_seconds=seconds)


@contextmanager
def opened(path, run="run", identity=INDEX, seconds=60.0):
    with manifest(path, seconds=seconds).open(identity, run) as session:
        yield session


def states(session):
    return {name: state for name, state, _ in session.known.rows()}


def look(path, identity=INDEX):
    with manifest(path).look(identity) as known:
        return {name: state for name, state, _ in known.rows()}


def test_nothing_is_known_at_first(tmp_path):
    assert look(tmp_path) == {}
    assert not list(tmp_path.iterdir())
    with opened(tmp_path) as session:
        assert states(session) == {}
        assert not session.forgotten


def test_a_green_run_makes_one_base_and_leaves_no_segments(tmp_path):
    with opened(tmp_path) as session:
        session.intend(["a", "b", "c"])
        session.settle([("a", mark(1)), ("b", mark(2)), ("c", None)])
        size = session.commit(None)
    assert size["ids"] == 2
    kinds = sorted(file.name.partition("-")[0] for file in tmp_path.iterdir())
    assert kinds == ["base", "lease", "manifest"]
    assert look(tmp_path) == {"a": mark(1), "b": mark(2)}


def test_a_run_with_nothing_to_do_writes_no_base(tmp_path):
    with opened(tmp_path) as session:
        session.commit(None)
    before = {file.name for file in tmp_path.iterdir() if "lease" not in file.name}
    with opened(tmp_path) as session:
        session.commit(None)
    assert {file.name for file in tmp_path.iterdir() if "lease" not in file.name} == before


def test_what_was_intended_and_not_settled_is_unknown(tmp_path):
    with opened(tmp_path) as session:
        session.intend(["a", "b"])
        session.settle([("a", mark(1))])
        session.intend(["c"])
        session.settle([("c", None)])
        session.intend(["d"])
    assert look(tmp_path) == {"a": mark(1), "b": b"", "d": b""}


@pytest.mark.parametrize("field", ["created_on", "dimensions", "metric", "changed_by", "index"])
def test_a_manifest_of_something_else_says_nothing(tmp_path, caplog, field):
    with opened(tmp_path) as session:
        session.intend(["a"])
        session.settle([("a", mark(1))])
        session.commit(None)
    other = INDEX | {field: "other"}
    assert look(tmp_path, other) == {}
    with opened(tmp_path, identity=other) as session:
        assert session.forgotten
        assert states(session) == {}
        session.intend(["b"])  # and is killed: what it wrote is known all the same
    assert f"{field} was" in caplog.text
    with opened(tmp_path, identity=other) as session:
        assert states(session) == {"b": b""}
        assert not session.forgotten


def test_two_runs_at_once_are_never_both_green(tmp_path):
    with opened(tmp_path, "first", seconds=0.0) as first:
        first.lease._seconds = 0.0
        with opened(tmp_path, "second") as second:
            second.intend(["a"])
            second.settle([("a", mark(2))])
            second.commit(None)
        with pytest.raises(ManifestError):
            first.commit(None)
    assert look(tmp_path) == {"a": mark(2)}


def test_what_a_run_wrote_after_it_was_taken_over_is_not_believed(tmp_path):
    zombie = manifest(tmp_path).open(INDEX, "zombie")
    first = zombie.__enter__()
    first._write([("a", b""), ("a", mark(1))])  # past the check of its lease
    with opened(tmp_path, "second") as second:
        assert states(second) == {"a": mark(1)}
        second.intend(["a", "b"])
        second.settle([("a", mark(2)), ("b", mark(2))])
        first._write([("b", b""), ("b", mark(1))])
        with pytest.raises(ManifestError, match="another run"):
            second.commit(None)
    assert look(tmp_path) == {"a": mark(2), "b": b""}
    with opened(tmp_path, "third") as third:
        third.intend(["b"])
        third.settle([("b", mark(3))])
        third.commit(None)
        first._write([("a", mark(9))])
    assert look(tmp_path) == {"a": b"", "b": mark(3)}


def test_a_pointer_that_another_run_has_replaced_is_not_replaced_again(tmp_path):
    with opened(tmp_path, "first", seconds=0.0) as first:
        with opened(tmp_path, "second") as second:
            second.commit(None)
        first.lease.check = lambda: None  # its clock is wrong
        with pytest.raises(ManifestError, match="another run has used the manifest"):
            first.commit(None)


def test_a_damaged_manifest_is_red_and_says_what_to_do(tmp_path):
    with opened(tmp_path) as session:
        session.intend(["a"])
        session.settle([("a", mark(1))])
        session.commit(None)
    [base] = tmp_path.glob("base-*")
    base.write_bytes(base.read_bytes()[:-1])
    with pytest.raises(ManifestError, match=r"base-.* is damaged.*remove the folder"):
        look(tmp_path)
    base.unlink()
    with pytest.raises(ManifestError, match="is missing"):
        look(tmp_path)


def test_a_kill_at_any_write_never_lets_the_manifest_claim_what_the_index_may_not_hold(tmp_path):
    """Random runs against a model of the index, each killed at each of its writes in turn."""
    for seed in range(5):
        path = tmp_path / str(seed)
        draw = random.Random(seed)
        index: dict[str, bytes] = {}  # what the index holds
        touched: set[str] = set()
        for round_ in range(25):
            kill_at = draw.choice([None, *(step / 2 for step in range(24))])
            try:
                with manifest(path, kill_at).open(INDEX, f"run {round_}") as session:
                    session.lease.check = lambda: None
                    for _ in range(draw.randint(1, 3)):
                        ids = draw.sample("abcdefgh", 3)
                        session.intend(ids)
                        rows = []
                        for name in ids:
                            touched.add(name)
                            state = draw.choice([None, mark(draw.randint(1, 9))])
                            if draw.random() < 0.8:  # the request arrives, and its answer perhaps too
                                index.pop(name, None) if state is None else index.update({name: state})
                                if draw.random() < 0.8:
                                    rows.append((name, state))
                        session.settle(rows)
                    if draw.random() < 0.6:
                        session.commit(None)
            except Killed:
                pass
            known = look(path)
            assert index.keys() <= known.keys(), "an id that nobody knows of would never be deleted"
            for name, state in known.items():
                assert state in (b"", index.get(name)), f"{name}: the manifest claims what is not so"
