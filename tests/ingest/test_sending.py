"""The sending window."""

from __future__ import annotations

import threading
import time

import pytest

from airflow_provider_vectorize.client.errors import IngestAbortedError, TransportError
from airflow_provider_vectorize.ending import Ending, State
from airflow_provider_vectorize.ingest import sending
from airflow_provider_vectorize.ingest.chunks import Chunk, Entry
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.sending import GRACE_SECONDS, JOIN_SECONDS, Window
from airflow_provider_vectorize.ingest.sources import START


def chunk(number, *ids):
    return Chunk(
        number, START, START, entries={each: Entry(each, 0, 1, START) for each in ids or (f"id-{number}",)}
    )


class Courier:
    """Send chunks when told to, and remember what was under way together."""

    def __init__(self, *, held=False):
        self.started: list[int] = []
        self.together: list[set[int]] = []
        self.fails: set[int] = set()
        self._under_way: set[int] = set()
        self._lock = threading.Lock()
        self.releases: dict[int, threading.Event] = {}
        self._held = held

    def release(self, number):
        self.releases.setdefault(number, threading.Event()).set()

    def __call__(self, chunk):
        with self._lock:
            self.started.append(chunk.number)
            self._under_way.add(chunk.number)
            self.together.append(set(self._under_way))
            event = self.releases.setdefault(chunk.number, threading.Event())
        if self._held:
            event.wait(10)
        with self._lock:
            self._under_way.discard(chunk.number)
        outcome = Outcome.of(chunk)
        if chunk.number in self.fails:
            outcome.error = TransportError("gone")
        return outcome


def eventually(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def push(window, chunks):
    """Put chunks from a thread of their own; give the thread and the list of outcomes that grows."""
    outcomes: list[Outcome] = []

    def run():
        for each in chunks:
            outcomes.extend(window.make_room(each))
            if window._ending.state > State.RUNNING:
                break
            window.send(each)
        outcomes.extend(window.drain())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcomes


def test_outcomes_come_in_the_order_of_the_chunks_whatever_ends_first():
    courier = Courier(held=True)
    thread, outcomes = push(Window(courier, 4, Ending()), [chunk(n) for n in range(4)])
    eventually(lambda: len(courier.started) == 4)
    for number in (3, 1, 0, 2):
        courier.release(number)
    thread.join(5)
    assert [each.number for each in outcomes] == [0, 1, 2, 3]


def test_a_chunk_waits_until_the_one_max_in_flight_before_it_is_accepted():
    courier = Courier(held=True)
    thread, _ = push(Window(courier, 2, Ending()), [chunk(n) for n in range(4)])
    eventually(lambda: courier.started == [0, 1])
    courier.release(1)
    time.sleep(0.1)
    assert courier.started == [0, 1], "chunk 0 is not accepted yet"
    courier.release(0)
    eventually(lambda: sorted(courier.started) == [0, 1, 2, 3])
    courier.release(2)
    courier.release(3)
    thread.join(5)
    assert not thread.is_alive()


def test_an_outcome_is_dealt_with_before_its_place_is_given_away():
    courier = Courier()
    window = Window(courier, 1, Ending())
    window.send(chunk(0))
    outcomes = window.make_room(chunk(1))
    assert next(outcomes).number == 0
    assert list(outcomes) == []
    window.send(chunk(1))
    assert [each.number for each in window.drain()] == [1]


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_a_chunk_for_which_no_thread_can_be_made_is_not_waited_for(monkeypatch, error):
    def start(_):
        raise error("can't start new thread")

    window = Window(Courier(), 1, Ending())
    monkeypatch.setattr(sending._Sending, "start", start)
    with pytest.raises(error):
        window.send(chunk(0))
    assert list(window.drain()) == []


def test_two_chunks_that_share_an_id_are_never_under_way_together():
    courier = Courier(held=True)
    thread, _ = push(Window(courier, 4, Ending()), [chunk(0, "a", "b"), chunk(1, "c"), chunk(2, "b")])
    eventually(lambda: sorted(courier.started) == [0, 1])
    time.sleep(0.1)
    assert sorted(courier.started) == [0, 1]
    courier.release(0)
    eventually(lambda: 2 in courier.started)
    assert not any({0, 2} <= each for each in courier.together)
    courier.release(1)
    courier.release(2)
    thread.join(5)


def test_after_a_failure_nothing_more_is_sent_and_the_others_still_count():
    courier = Courier(held=True)
    courier.fails = {0}
    window = Window(courier, 2, Ending())
    thread, outcomes = push(window, [chunk(n) for n in range(5)])
    eventually(lambda: courier.started == [0, 1])
    courier.release(0)
    courier.release(1)
    thread.join(5)
    assert courier.started == [0, 1]
    assert [(each.number, each.error is None) for each in outcomes] == [(0, False), (1, True)]
    assert window._ending.state is State.FAILING


def test_a_request_that_hangs_does_not_hold_up_the_stop():
    courier = Courier(held=True)
    stop = threading.Event()
    window = Window(courier, 2, Ending(stop=stop))
    thread, outcomes = push(window, [chunk(n) for n in range(5)])
    eventually(lambda: courier.started == [0, 1])
    courier.release(0)
    eventually(lambda: courier.started == [0, 1, 2])
    begun = time.monotonic()
    stop.set()
    thread.join(4)
    assert not thread.is_alive()
    assert time.monotonic() - begun < GRACE_SECONDS + JOIN_SECONDS + 1
    assert [(each.number, type(each.error)) for each in outcomes] == [
        (0, type(None)),
        (1, IngestAbortedError),
        (2, IngestAbortedError),
    ]
    assert outcomes[1].unsettled == [START]
    assert courier.started == [0, 1, 2]
    for number in (1, 2):
        courier.release(number)


def test_what_ends_within_the_grace_still_counts():
    courier = Courier(held=True)
    stop = threading.Event()
    thread, outcomes = push(Window(courier, 2, Ending(stop=stop)), [chunk(n) for n in range(5)])
    eventually(lambda: courier.started == [0, 1])
    stop.set()
    courier.release(0)
    courier.release(1)
    thread.join(4)
    assert [each.number for each in outcomes] == [0, 1]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit])
def test_a_delivery_that_breaks_down_ends_the_load_and_not_the_hope(error):
    def deliver(chunk):
        raise error

    window = Window(deliver, 2, Ending())
    window.send(chunk(0))
    [outcome] = window.drain()
    assert type(outcome.error) is error
    assert outcome.unsettled == [START]
    assert window._ending.state is State.FAILING


def test_a_closed_window_has_no_thread_left():
    courier, ending = Courier(held=True), Ending()
    window = Window(courier, 2, ending)
    window.send(chunk(0))
    [thread] = [each for each in threading.enumerate() if each.name == "vectorize-chunk-0"]
    with ending.cutting(lambda: courier.release(0)):
        window.close()
    assert ending.state is State.OVER
    assert not thread.is_alive()
