"""One poll for all waits on an index: whatever their number, they cost one look an interval.

Everything here runs on the loop of the triggerer, but for the look itself, which runs in a thread of the poll.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from airflow_provider_vectorize.client.errors import VectorizeError
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.visibility import Target
from airflow_provider_vectorize.waiting import Look, Wait, look, refuse_to_sleep

log = logging.getLogger(__name__)

#: An interval is lengthened by up to this part of it, so that polls of several indexes spread out.
JITTER = 0.1

_Key = tuple[asyncio.AbstractEventLoop, str, str, str, str]
_polls: dict[_Key, SharedPoll] = {}


class PolledWait(Wait):
    """A wait that takes part in a poll. The first look that begins after its deadline is its last.

    :param index_name: the index.
    :param targets: what to wait for.
    :param interval: seconds between two looks.
    :param deadline: in seconds since the epoch.
    :param timeout: how many seconds the wait was given in all, for the message.
    """

    def __init__(
        self, index_name: str, targets: Sequence[Target], *, interval: float, deadline: float, timeout: float
    ) -> None:
        super().__init__(index_name, targets)
        self.interval = interval
        self.deadline = deadline
        self.timeout = timeout
        self.begin()

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return time.time() >= self.deadline

    def begin(self) -> None:
        """Be ready for a poll."""
        #: Done once all can be seen, or with the error that ends the wait.
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        """End at the deadline, unless it has ended already."""
        if not self.ended.done():
            self.ended.set_exception(self.timed_out(self.timeout))

    def learn(self, seen: Look) -> None:
        """Take in what a look has shown."""
        super().learn(seen)
        if self.done and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, error: Exception) -> None:
        """Take in that a look has failed: a permanent error ends the wait, and so does a bug."""
        super().fail(error)
        passing = isinstance(error, VectorizeError) and not error.permanent
        if not passing and not self.ended.done():
            self.ended.set_exception(error)


class SharedPoll:
    """The poll of one index with one set of credentials, for as long as somebody waits.

    :param settings: of the connection.
    :param index_name: the index.
    """

    @classmethod
    def join(cls, settings: ConnectionSettings, wait: PolledWait) -> SharedPoll:
        """Take part in the poll of the index, starting it if need be."""
        credentials = hashlib.sha256(f"{settings.auth_email}\n{settings.secret}".encode()).hexdigest()
        key = (
            asyncio.get_running_loop(),
            settings.base_url,
            settings.account_id,
            wait.index_name,
            credentials,
        )
        poll = _polls.get(key)
        if poll is None:
            poll = _polls[key] = cls(key, settings, wait.index_name)
        poll._waits.append(wait)
        # A shorter interval counts from now on.
        poll._changed.set()
        return poll

    def __init__(self, key: _Key, settings: ConnectionSettings, index_name: str) -> None:
        self._key = key
        self._index_name = index_name
        self._client = settings.client(max_attempts=1, sleep=refuse_to_sleep)
        self._waits: list[PolledWait] = []
        self._reads: Counter[Target] = Counter()
        self._turn = 0
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vectorize-poll")
        self._task = asyncio.get_running_loop().create_task(self._run())

    def leave(self, wait: PolledWait) -> None:
        """Take part no more; the last to leave stops the poll."""
        self._waits.remove(wait)
        if not self._waits:
            del _polls[self._key]
            self._task.cancel()
            self._client.abort()
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while True:
            # Whoever defers has just looked; and schedulers before 3.2 lose a trigger that fires at once.
            await self._pause()
            await self._look_once()

    async def _look_once(self) -> None:
        targets = self._in_turn()
        last = [wait for wait in self._waits if wait.late]
        try:
            seen = await asyncio.get_running_loop().run_in_executor(
                self._thread, look, self._client, self._index_name, targets, self._turn
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            log.warning(
                "Could not look at index %r for %d waits: %s", self._index_name, len(self._waits), error
            )
            for wait in self._waits:
                wait.fail(error)
        else:
            self._turn += 1
            for target in targets:
                if any(probe.id in seen.read for probe in target.probes):
                    self._reads[target] += 1
            for wait in self._waits:
                wait.learn(seen)
        for wait in last:
            wait.expire()

    def _in_turn(self) -> list[Target]:
        # Those read least come first, and among them the oldest: everyone gets a turn, also past one that is stuck.
        targets = list(dict.fromkeys(target for wait in self._waits for target in wait.pending))
        self._reads = Counter({target: self._reads[target] for target in targets})
        return sorted(targets, key=self._reads.__getitem__)

    async def _pause(self) -> None:
        started = time.monotonic()
        stretch = 1 + random.uniform(0, JITTER)  # noqa: S311  # spreads load, guards nothing
        while True:
            self._changed.clear()
            interval = min(wait.interval for wait in self._waits)
            left = started + interval * stretch - time.monotonic()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return
