"""So many requests a minute and no more."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import IngestAbortedError, InvalidArgumentError
from airflow_provider_vectorize.index.pace import Pace, minutes


class Time:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds
        return False


@given(limit=st.integers(1, 20), work=st.lists(st.floats(0, 30), min_size=1, max_size=120))
@settings(deadline=None)
def test_in_no_minute_more_begin_and_none_waits_without_need(limit, work):
    time = Time()
    pace = Pace(limit, threading.Event(), time, time.wait)
    begun = []
    for seconds in work:
        before = time.now
        pace()
        if time.now > before:  # it has waited, so the minute behind it is full
            assert len([at for at in begun if at >= time.now - 60.0 - 1e-6]) == limit
        begun.append(time.now)
        time.now += seconds
    for first, last in zip(begun, begun[limit:], strict=False):
        assert last - first >= 60.0 - 1e-9


def test_told_to_stop_it_waits_no_more():
    stop = threading.Event()
    pace = Pace(1, stop)
    pace()
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(IngestAbortedError):
        pace()


@pytest.mark.parametrize("wrong", [0, -1, 12_001, 1.5, True, "120", None])
def test_what_is_no_pace(wrong):
    with pytest.raises(
        InvalidArgumentError, match="requests_per_minute must be a whole number of 1 to 12000"
    ):
        Pace(wrong, threading.Event())


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        (0, "less than a minute"),
        (120, "less than a minute"),
        (121, "1 minutes"),
        (5_100, "42 minutes"),
        (50_000, "6.9 hours"),
    ],
)
def test_how_long_it_takes(requests, says):
    assert minutes(requests, 120) == says
