"""The trigger that waits until writes can be seen."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
)
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_vectorize.client.errors import (
    AuthenticationError,
    InvalidArgumentError,
    MutationTimeoutError,
    VectorizeError,
)
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.triggers.objects import VectorizeObjectTrigger
from airflow_provider_vectorize.triggers.poller import PolledWait, SharedPoll
from airflow_provider_vectorize.visibility import Target
from airflow_provider_vectorize.waiting import Sentinel, Wait
from airflow_provider_vectorize.wording import in_short_lines, of_a_failure

__all__ = [
    "VectorizeMutationTrigger",
    "VectorizeObjectTrigger",
    "check_event",
    "deferral",
    "raise_for_status",
]

#: Bytes of JSON that the targets of a trigger take at most. Its row is a small column in some databases.
MAX_TARGET_BYTES = 3_500
#: Fences that a trigger takes along, the last ones.
MAX_STORED_FENCES = 5


def grace(interval: float) -> float:
    """Give the seconds after a deadline by which a wait has ended: its last look comes with the next poll.

    :param interval: seconds between two looks.
    """
    return 30.0 + 2 * interval


class VectorizeMutationTrigger(BaseTrigger):
    """Wait until writes can be seen; all waits on one index share their polls.

    The arguments are stored in the metadata database: they hold no secret and no vector.

    :param conn_id: a connection of type ``vectorize``.
    :param index_name: the index.
    :param targets: what to wait for, as :meth:`Target.to_dict` writes it: those that fit, see :func:`deferral`.
    :param deadline: when the wait ends, in seconds since the epoch.
    :param poll_interval: seconds between two looks, not more than ``timeout``; the shortest of those who wait on the
        index counts.
    :param timeout: how many seconds the wait was given in all; None: what is left until the deadline.
    :param more: how many other writes are waited for, which only a fence can prove.
    :param fences: mutations that whoever waits has sent after everything was accepted.
    :param sentinel: id and mark of the :class:`~airflow_provider_vectorize.waiting.Sentinel`; None without.
    :param unknown: arguments that another version has written; ignored.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        index_name: str,
        targets: Sequence[Mapping[str, Any]],
        deadline: float,
        poll_interval: float = 10.0,
        timeout: float | None = None,
        more: int = 0,
        fences: Sequence[str] = (),
        sentinel: Sequence[str] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        if unknown:
            self.log.info("Ignoring arguments of another version: %s", ", ".join(sorted(unknown)))
        self.conn_id = conn_id
        self.index_name = index_name
        self.targets = [Target.from_dict(target) for target in targets]
        self.deadline = deadline
        self.more = more
        self.fences = list(fences)
        self.sentinel = None if sentinel is None else Sentinel(*sentinel)
        self.timeout = max(0.0, deadline - time.time()) if timeout is None else timeout
        self.poll_interval = min(poll_interval, self.timeout)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give what is stored."""
        return (
            "airflow_provider_vectorize.triggers.vectorize.VectorizeMutationTrigger",
            {
                "conn_id": self.conn_id,
                "index_name": self.index_name,
                "targets": [target.to_dict() for target in self.targets],
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "timeout": self.timeout,
                "more": self.more,
                "fences": self.fences,
                "sentinel": None if self.sentinel is None else [self.sentinel.id, self.sentinel.mark],
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: see :func:`check_event` and :func:`raise_for_status`."""
        yield await self._end()

    async def _end(self) -> TriggerEvent:
        now = time.time()
        # A deadline that passed while no triggerer ran leaves an interval: what can be seen by now still counts.
        deadline = max(self.deadline, now + self.poll_interval)
        wait = PolledWait(
            self.index_name,
            self.targets,
            interval=self.poll_interval,
            deadline=deadline,
            timeout=self.timeout,
            more=self.more,
            fences=self.fences,
            sentinel=self.sentinel,
        )
        # For a look that hangs; as a rule the poll ends the wait.
        limit = asyncio.timeout(deadline - now + grace(self.poll_interval))
        try:
            async with limit:
                await self._wait(wait)
        except MutationTimeoutError as error:
            return self._event("timeout", message=str(error))
        except TimeoutError:
            if not limit.expired():
                raise
            return self._event("timeout", message=str(wait.timed_out(self.timeout)))
        except VectorizeError as error:
            return self._event("failed", message=str(error), permanent=error.permanent)
        # Here and not in the poll, which runs in the context of whoever started it.
        wait.log_evidence(self.log)
        # Without a fence, only what the row had room for is proved.
        return self._event("visible" if wait.more == 0 else "part")

    def _event(self, status: str, **more: Any) -> TriggerEvent:
        # What the task itself knew is gone.
        mutations = [target.mutation_id for target in self.targets]
        event = {"status": status, "index_name": self.index_name, "mutation_ids": mutations}
        return TriggerEvent(event | {"deadline": self.deadline, "timeout": self.timeout, **more})

    async def _wait(self, wait: PolledWait) -> None:
        settings = await self._settings(wait)
        while True:
            poll = SharedPoll.join(settings, wait)
            try:
                return await self._ended(wait)
            except AuthenticationError as error:
                refused = error
            finally:
                poll.leave(wait)
            # The token may have been replaced meanwhile; if it was not, the refusal is final.
            renewed = await self._settings(wait)
            if renewed == settings:
                raise refused
            settings = renewed
            wait.begin()

    async def _ended(self, wait: PolledWait) -> None:
        until = datetime.fromtimestamp(wait.deadline, UTC)
        while not (await asyncio.wait({wait.ended}, timeout=wait.interval))[0]:
            wait.tell(self.log, until)
        return wait.ended.result()

    async def _settings(self, wait: PolledWait) -> ConnectionSettings:
        while True:
            last = wait.late
            try:
                return ConnectionSettings.from_connection(await _look_up(self.conn_id))
            except VectorizeError:
                # What the connection says is wrong.
                raise
            except AirflowNotFoundException as error:
                raise InvalidArgumentError(f"there is no connection {self.conn_id!r}: {error}") from error
            except Exception as error:  # noqa: BLE001  # whatever a secrets backend may raise
                failure = f"connection {self.conn_id!r} could not be looked up: {error!r}"
                self.log.warning("%s", in_short_lines(f"The {failure}"))
                wait.fail(VectorizeError(failure))
            if last:
                raise wait.timed_out(self.timeout)
            await asyncio.sleep(self.poll_interval)


async def _look_up(conn_id: str) -> Any:
    try:
        return await get_async_connection(conn_id)
    except AirflowNotFoundException:
        # `dag.test()` of Airflow 3.3 sees a connection of the database in this way only.
        return await sync_to_async(BaseHook.get_connection)(conn_id)


def deferral(
    conn_id: str,
    wait: Wait,
    poll_interval: float,
    timeout: float,
    *,
    deadline: float | None = None,
) -> dict[str, Any]:
    """Give the arguments of ``defer`` for a wait, after which ``execute_complete`` goes on.

    The row of a trigger has room for a few writes only. A fence proves all of them; where none can be written, those
    that fit are proved first, and the event says ``part``.

    :param conn_id: a connection of type ``vectorize``.
    :param wait: what to wait for.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds after which the wait fails.
    :param deadline: when that is, in seconds since the epoch, if it has begun already.
    """
    now = time.time()
    deadline = now + timeout if deadline is None else deadline
    targets: list[dict[str, Any]] = []
    size = 0
    for target in wait.pending:
        size += len(json.dumps(target.to_dict()))
        if targets and size > MAX_TARGET_BYTES:
            break
        targets.append(target.to_dict())
    trigger = VectorizeMutationTrigger(
        conn_id=conn_id,
        index_name=wait.index_name,
        targets=targets,
        deadline=deadline,
        poll_interval=poll_interval,
        timeout=timeout,
        more=len(wait.pending) - len(targets),
        fences=list(wait.fences)[-MAX_STORED_FENCES:],
        sentinel=None if wait.sentinel is None else [wait.sentinel.id, wait.sentinel.mark],
    )
    # The trigger ends itself, unless no triggerer runs; the grace counts twice for one that begins after the deadline.
    backstop = timedelta(seconds=max(0.0, deadline - now) + 2 * grace(trigger.poll_interval))
    return {"trigger": trigger, "method_name": "execute_complete", "timeout": backstop}


def check_event(event: Any) -> Mapping[str, Any]:
    """Check what the trigger has sent.

    :raises AirflowException: it is no event of this trigger.
    """
    if not isinstance(event, Mapping) or "status" not in event:
        raise AirflowException(f"The trigger sent no event that this version knows: {event!r}")
    return event


def raise_for_status(event: Mapping[str, Any]) -> None:
    """Raise unless the event says that what it names can be seen.

    :raises MutationTimeoutError: the deadline has passed.
    :raises AirflowFailException: the wait failed, and no retry can help.
    :raises AirflowException: the wait failed; or the status is none that is known, which must not pass for success.
    """
    match event["status"]:
        case "visible" | "part":
            return
        case "timeout":
            raise MutationTimeoutError(event["message"])
        case "failed":
            kind = AirflowFailException if event["permanent"] else AirflowException
            raise kind(of_a_failure(event["message"]))
        case unknown:
            raise AirflowException(f"The trigger sent a status that this version does not know: {unknown!r}")
