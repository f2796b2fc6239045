"""The trigger that waits until a source is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_vectorize.client import limits
from airflow_provider_vectorize.client.errors import SourceError, VectorizeError
from airflow_provider_vectorize.runtime.storage import Place, Settling, Source, described, places_of, snapshot
from airflow_provider_vectorize.wording import in_short_lines

#: Seconds after a deadline in which a look that is under way still counts.
GRACE_SECONDS = 30.0


class _Store:
    """The looks at one storage: one thread, so one after the other, and those at the same source are shared."""

    def __init__(self) -> None:
        self.users = 0
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vectorize-objects")
        self.looks: dict[tuple[str, ...], asyncio.Future[Any]] = {}

    async def look(self, places: Sequence[Place]) -> Any:
        names = tuple(place.name for place in places)
        look = self.looks.get(names)
        if look is None:
            look = self.looks[names] = asyncio.get_running_loop().run_in_executor(
                self.thread, snapshot, places
            )
            look.add_done_callback(lambda _: self.looks.pop(names))
        # Whoever is cancelled leaves it to the others.
        return await asyncio.shield(look)


#: By the filesystem: Airflow makes one for each storage and connection, and not every one can be written down.
_stores: dict[tuple[asyncio.AbstractEventLoop, int], _Store] = {}


class VectorizeObjectTrigger(BaseTrigger):
    """Wait until every path of a source is there, and every glob finds something.

    :param source: a path or glob, a piece of a file, or a list of them; JSON.
    :param deadline: when the wait ends, in seconds since the epoch.
    :param poll_interval: seconds between two looks, at least 1.
    :param settled_seconds: for so long size and mark of every file must not have changed.
    :param unknown: arguments that another version has written; ignored.
    """

    def __init__(
        self,
        *,
        source: Source,
        deadline: float,
        poll_interval: float = 60.0,
        settled_seconds: float = 0.0,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        if unknown:
            self.log.info("Ignoring arguments of another version: %s", ", ".join(sorted(unknown)))
        self.source = source
        self.deadline = deadline
        self.poll_interval = max(limits.MIN_POLL_SECONDS, poll_interval)
        self.settled_seconds = settled_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give what is stored."""
        return (
            "airflow_provider_vectorize.triggers.objects.VectorizeObjectTrigger",
            {
                "source": self.source,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "settled_seconds": self.settled_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: its ``status`` is ``found``, ``timeout`` or ``failed``."""
        try:
            yield TriggerEvent(await self._wait())
        except VectorizeError as error:
            yield TriggerEvent({"status": "failed", "message": str(error)})

    async def _wait(self) -> dict[str, Any]:
        settling = Settling(self.settled_seconds)
        while True:
            late = time.time() >= self.deadline
            obstacle = ""
            try:
                async with asyncio.timeout(max(0.0, self.deadline - time.time()) + GRACE_SECONDS):
                    if settling.is_settled(await self._look()):
                        return {"status": "found"}
            except TimeoutError:
                late, obstacle = True, "; the last look took too long"
            except SourceError as error:
                if error.permanent:
                    raise
                what = f"Not there yet, since the storage cannot say: {error}"
                self.log.warning("%s", in_short_lines(what))
                obstacle = f"; the last look failed: {error}"
            if late:
                return {"status": "timeout", "message": f"Waited for {described(self.source)}{obstacle}"}
            # A last look at the deadline.
            await asyncio.sleep(min(self.poll_interval, max(0.0, self.deadline - time.time())))

    async def _look(self) -> Any:
        # Airflow's connections are looked up here, which only its own threads may do.
        places = await sync_to_async(places_of)(self.source)
        key = (asyncio.get_running_loop(), min((id(place.fs) for place in places), default=0))
        store = _stores.setdefault(key, _Store())
        store.users += 1
        try:
            return await store.look(places)
        finally:
            store.users -= 1
            if not store.users:
                del _stores[key]
                store.thread.shutdown(wait=False)
