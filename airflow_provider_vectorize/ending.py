"""How a piece of work ends, for all of its threads at once. Imports nothing of the package."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import IntEnum

#: Seconds between two looks at an event that nobody can be woken by.
LOOK_SECONDS = 0.05


class State(IntEnum):
    """How far the end is. It only ever comes nearer."""

    #: Everything goes on.
    RUNNING = 0
    #: Nothing new is begun; what is under way goes on, repetitions included.
    FAILING = 1
    #: No request is begun and no wait goes on; requests under way have a moment to end.
    STOPPING = 2
    #: Requests under way are cut.
    OVER = 3


class Ending:
    """What everybody who works on one thing looks at and waits on.

    :param parents: the endings of something larger, each of which ends this as well.
    :param stop: an order to stop from outside: once set, the state is at least ``STOPPING``.
    """

    def __init__(self, *parents: Ending, stop: threading.Event | None = None) -> None:
        self._parents = parents
        self._stop = stop
        self._state = State.RUNNING
        self._cuts: list[Callable[[], None]] = []
        #: Notified when the state changes, and by whoever has something to tell to those who wait. Its lock may be
        #: taken again by the same thread, so that a signal handler may end what it has interrupted.
        self.changed = threading.Condition(threading.RLock())

    @property
    def state(self) -> State:
        """How far the end is."""
        state = self._state
        if state < State.STOPPING and self._stop is not None and self._stop.is_set():
            state = State.STOPPING
        return max(state, *(parent.state for parent in self._parents)) if self._parents else state

    def come_to(self, state: State) -> None:
        """Come nearer to the end; the way back is ignored."""
        with self.changed:
            self._state = max(self._state, state)
            cuts = list(self._cuts) if self._state is State.OVER else []
            self.changed.notify_all()
        for cut in cuts:
            cut()

    def sleep(self, seconds: float) -> None:
        """Sleep, until the state is ``STOPPING`` at most."""
        until = time.monotonic() + seconds
        with self.changed:
            while self.state < State.STOPPING and (left := until - time.monotonic()) > 0:
                self.changed.wait(min(left, LOOK_SECONDS))

    @contextmanager
    def cutting(self, cut: Callable[[], None]) -> Iterator[None]:
        """Have something cut once the state is ``OVER``; at once if it is already.

        :param cut: called from any thread, perhaps more than once.
        """
        with ExitStack() as parents:
            for parent in self._parents:
                parents.enter_context(parent.cutting(cut))
            with self.changed:
                self._cuts.append(cut)
            try:
                if self.state is State.OVER:
                    cut()
                yield
            finally:
                with self.changed:
                    self._cuts.remove(cut)

    @contextmanager
    def cutting_reads(self) -> Iterator[None]:
        """Come to ``OVER`` as soon as the state is ``STOPPING``: who reads here cannot see to that itself."""
        done = threading.Event()

        def watch() -> None:
            while self.state < State.STOPPING:
                if done.wait(LOOK_SECONDS):
                    return
            self.come_to(State.OVER)

        watcher = threading.Thread(target=watch, name="vectorize-stop", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
