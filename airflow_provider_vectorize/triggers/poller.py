"""One poll for all waits on an index: whatever their number, they cost one look an interval, and share the fences.

Everything here runs on the loop of the triggerer, but for the look itself, which runs in a thread of the poll.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_provider_vectorize.client import limits
from airflow_provider_vectorize.client.errors import VectorizeError
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.visibility import Target, Visible
from airflow_provider_vectorize.waiting import Claim, Fencer, Look, Wait, look, refuse_to_sleep
from airflow_provider_vectorize.wording import in_short_lines

log = logging.getLogger(__name__)

#: An interval is lengthened by up to this part of it, so that polls of several indexes spread out.
JITTER = 0.1

#: All of the settings: what differs in `verify` alone must not share a connection.
_Key = tuple[asyncio.AbstractEventLoop, ConnectionSettings, str]
_polls: dict[_Key, SharedPoll] = {}


class PolledWait(Wait):
    """A wait that takes part in a poll. The first look that begins after its deadline is its last.

    :param index_name: the index.
    :param targets: what to wait for.
    :param interval: seconds between two looks.
    :param deadline: in seconds since the epoch.
    :param timeout: how many seconds the wait was given in all, for the message.
    :param more: see :class:`Wait`, as the rest.
    """

    def __init__(
        self,
        index_name: str,
        targets: Sequence[Target],
        *,
        interval: float,
        deadline: float,
        timeout: float,
        **more: Any,
    ) -> None:
        super().__init__(index_name, targets, **more)
        self.interval = interval
        self.deadline = deadline
        self.timeout = timeout
        #: How often a poll has read ids for it, and written its sentinel.
        self.reads = 0
        self.writes = len(self.fences)
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

    def learn(self, watermark: str | None, visible: Mapping[Target, Visible]) -> None:
        """Take in what a look has shown."""
        super().learn(watermark, visible)
        if self.done and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, error: Exception) -> None:
        """Take in that a look has failed: a permanent error ends the wait, and so does a bug."""
        super().fail(error)
        if not _passing(error) and not self.ended.done():
            self.ended.set_exception(error)


class SharedPoll:
    """The poll of one index with one set of credentials, for as long as somebody waits.

    :param settings: of the connection.
    :param index_name: the index.
    """

    @classmethod
    def join(cls, settings: ConnectionSettings, wait: PolledWait) -> SharedPoll:
        """Take part in the poll of the index, starting it if need be."""
        key = (asyncio.get_running_loop(), settings, wait.index_name)
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
        self._fencer = Fencer(index_name)
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
        # Those read least come first, and among them the oldest: everyone gets a turn, also past one that is stuck.
        waits = sorted(self._waits, key=lambda wait: wait.reads)
        claims = [wait.claim() for wait in waits]
        last = [wait for wait in waits if wait.late]
        writer = min((wait for wait in waits if wait.sentinel), key=lambda wait: wait.writes, default=None)
        try:
            seen, fence = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._look, claims, writer
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            if _passing(error):  # what ends the waits, they say themselves
                what = f"Could not look at index {self._index_name!r} for {len(self._waits)} waits: {error}"
                log.warning("%s", in_short_lines(what))
            for wait in self._waits:
                wait.fail(error)
        else:
            if fence is not None and writer is not None:
                writer.writes += 1
            for wait, claim, visible in zip(waits, claims, seen.visible, strict=True):
                wait.reads += not seen.read.isdisjoint(_ids(claim))
                if fence is not None:
                    # It was sent after all that this wait is about had been accepted.
                    wait.fences.append(fence)
                wait.fencer.refused = self._fencer.refused
                wait.learn(seen.watermark, visible)
        for wait in last:
            wait.expire()

    def _look(self, claims: Sequence[Claim], writer: PolledWait | None) -> tuple[Look, str | None]:
        """Look, and write a fence if it is time to. Runs in the thread."""
        self._fencer.begin()
        seen = look(self._client, self._index_name, claims)
        open_ = any(
            len(visible) < len(claim.targets) for claim, visible in zip(claims, seen.visible, strict=True)
        )
        if not open_ or seen.watermark is None or not self._fencer.due:
            return seen, None
        # A sentinel is a fence as well, so it serves everyone.
        sentinel = None if writer is None else writer.sentinel
        return seen, self._fencer.write(self._client, seen.dimensions, sentinel)

    async def _pause(self) -> None:
        started = time.monotonic()
        stretch = 1 + random.uniform(0, JITTER)  # noqa: S311  # spreads load, guards nothing
        while True:
            self._changed.clear()
            interval = max(limits.MIN_POLL_SECONDS, min(wait.interval for wait in self._waits))
            left = started + interval * stretch - time.monotonic()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return


def _passing(error: Exception) -> bool:
    return isinstance(error, VectorizeError) and not error.permanent


def _ids(claim: Claim) -> set[str]:
    ids = {probe.id for target in claim.targets for probe in target.probes}
    return ids if claim.sentinel is None else ids | {claim.sentinel.id}
