"""The trigger that waits until writes can be seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_vectorize.client.errors import AuthenticationError, MutationTimeoutError, VectorizeError
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.triggers.poller import PolledWait, SharedPoll
from airflow_provider_vectorize.visibility import Target
from airflow_provider_vectorize.waiting import Wait


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
    :param targets: what to wait for, as :meth:`Target.to_dict` writes it.
    :param deadline: when the wait ends, in seconds since the epoch.
    :param poll_interval: seconds between two looks, not more than ``timeout``; the shortest of those who wait on the
        index counts.
    :param timeout: how many seconds the wait was given in all; None: what is left until the deadline.
    :param seen: mutations among the targets that were seen before: they need not be proved again.
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
        seen: Sequence[str] = (),
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        if unknown:
            self.log.info("Ignoring arguments of another version: %s", ", ".join(sorted(unknown)))
        self.conn_id = conn_id
        self.index_name = index_name
        self.targets = [Target.from_dict(target) for target in targets]
        self.deadline = deadline
        self.seen = list(seen)
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
                "seen": self.seen,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: see :func:`waited_for` and :func:`raise_for_status`."""
        yield await self._end()

    async def _end(self) -> TriggerEvent:
        now = time.time()
        # A deadline that passed while no triggerer ran leaves an interval: what can be seen by now still counts.
        deadline = max(self.deadline, now + self.poll_interval)
        wait = PolledWait(
            self.index_name,
            [target for target in self.targets if target.mutation_id not in self.seen],
            interval=self.poll_interval,
            deadline=deadline,
            timeout=self.timeout,
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
            self.log.error("The wait has failed: %s", error)  # noqa: TRY400  # expected, and said in full
            return self._event("failed", message=str(error), permanent=error.permanent)
        # Here and not in the poll, which runs in the context of whoever started it.
        wait.log_evidence(self.log)
        return self._event("visible")

    def _event(self, status: str, **more: Any) -> TriggerEvent:
        # It says what was waited for, too: what the task itself knew is gone.
        targets = [target.to_dict() for target in self.targets]
        return TriggerEvent({"status": status, "index_name": self.index_name, "targets": targets, **more})

    async def _wait(self, wait: PolledWait) -> None:
        settings = await self._settings(wait)
        while True:
            poll = SharedPoll.join(settings, wait)
            try:
                return await wait.ended
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

    async def _settings(self, wait: PolledWait) -> ConnectionSettings:
        while True:
            last = wait.late
            try:
                return ConnectionSettings.from_connection(await get_async_connection(self.conn_id))
            except VectorizeError:
                # What the connection says is wrong.
                raise
            except Exception as error:  # noqa: BLE001  # whatever a secrets backend may raise
                failure = f"connection {self.conn_id!r} could not be looked up: {error!r}"
                self.log.warning("The %s", failure)
                wait.fail(VectorizeError(failure))
            if last:
                raise wait.timed_out(self.timeout)
            await asyncio.sleep(self.poll_interval)


def deferral(conn_id: str, wait: Wait, poll_interval: float, timeout: float) -> dict[str, Any]:
    """Give the arguments of ``defer`` for a wait, after which ``execute_complete`` goes on.

    :param conn_id: a connection of type ``vectorize``.
    :param wait: what to wait for.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds after which the wait fails.
    """
    trigger = VectorizeMutationTrigger(
        conn_id=conn_id,
        index_name=wait.index_name,
        targets=[target.to_dict() for target in wait.targets],
        deadline=time.time() + timeout,
        poll_interval=poll_interval,
        timeout=timeout,
        seen=[target.mutation_id for target in wait.targets if target not in wait.pending],
    )
    # The trigger ends itself, unless no triggerer runs; the grace counts twice for one that begins after the deadline.
    backstop = timedelta(seconds=timeout + 2 * grace(trigger.poll_interval))
    return {"trigger": trigger, "method_name": "execute_complete", "timeout": backstop}


def waited_for(event: Any) -> Wait:
    """Read from the event of the trigger what was waited for.

    :raises AirflowException: it is no event of this trigger.
    """
    if not isinstance(event, Mapping) or "status" not in event:
        raise AirflowException(f"The trigger sent no event that this version knows: {event!r}")
    return Wait(event["index_name"], [Target.from_dict(target) for target in event["targets"]])


def raise_for_status(event: Mapping[str, Any]) -> None:
    """Raise unless the event says that everything can be seen.

    :raises MutationTimeoutError: the deadline has passed.
    :raises AirflowFailException: the wait failed, and no retry can help.
    :raises AirflowException: the wait failed; or the status is none that is known, which must not pass for success.
    """
    match event["status"]:
        case "visible":
            return
        case "timeout":
            raise MutationTimeoutError(event["message"])
        case "failed":
            raise (AirflowFailException if event["permanent"] else AirflowException)(event["message"])
        case unknown:
            raise AirflowException(f"The trigger sent a status that this version does not know: {unknown!r}")
