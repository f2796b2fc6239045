"""The lease: one run at a time, taken over after it ran out, and lost in time."""

from __future__ import annotations

import threading

import fsspec
import pytest

from airflow_provider_vectorize.client.errors import ManifestError
from airflow_provider_vectorize.sync.folder import Folder
from airflow_provider_vectorize.sync.lease import Lease


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path):
    return Folder(fsspec.filesystem("file"), str(tmp_path), str(tmp_path))


def lease(folder, run, clock):
    return Lease(folder, run, seconds=60, clock=clock)


def test_a_second_run_is_refused_and_told_who_has_it_and_until_when(folder):
    clock = Clock()
    with lease(folder, "first run", clock), pytest.raises(ManifestError, match=r"first run.* 13:47:40"):
        lease(folder, "second", clock)


def test_a_lease_that_is_given_back_is_taken_at_once(folder):
    clock = Clock()
    with lease(folder, "first", clock) as first:
        pass
    with lease(folder, "second", clock) as second:
        assert second.took_over is None
        assert second.epoch == first.epoch + 1


def test_a_lease_of_a_killed_run_is_taken_over_after_it_ran_out_and_that_is_said(folder, caplog):
    clock = Clock()
    lease(folder, "killed", clock)
    clock.now += 61
    with lease(folder, "second", clock) as second:
        assert "killed" in second.took_over
    assert "Taking over the manifest" in caplog.text


def test_a_run_that_renews_keeps_it(folder):
    clock = Clock()
    with lease(folder, "first", clock) as first:
        clock.now += 44
        first.check()
        first.renew()
        clock.now += 44
        first.check()
        with pytest.raises(ManifestError, match="in use by first"):
            lease(folder, "second", clock)


def test_it_is_lost_before_another_can_have_it(folder):
    clock = Clock()
    with lease(folder, "first", clock) as first:
        clock.now += 46
        with pytest.raises(ManifestError, match="could not be renewed in time"):
            first.check()


def test_a_run_that_slept_finds_that_another_has_taken_it_over(folder):
    clock = Clock()
    first = lease(folder, "first", clock)
    clock.now += 61
    with lease(folder, "second", clock) as second:
        first.renew()
        with pytest.raises(ManifestError, match="another run has taken it over"):
            first.check()
        second.check()


def test_whoever_loses_it_is_told_at_once_and_not_only_when_asking(folder):
    lost = threading.Event()
    with Lease(folder, "first", seconds=0.3, on_lost=lost.set):
        folder.replace("lease-00000002.json", b"{}")
        assert lost.wait(20)


def test_it_is_lost_by_the_clock_when_the_storage_fails(folder, monkeypatch):
    lost = threading.Event()
    with Lease(folder, "first", seconds=0.3, on_lost=lost.set) as held:
        monkeypatch.setattr(folder, "_fs", None)
        assert lost.wait(20)
        with pytest.raises(ManifestError, match="could not be renewed in time"):
            held.check()
