"""The trigger that waits until writes can be seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_vectorize.client.errors import AuthenticationError, MutationTimeoutError, VectorizeError
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.triggers.poller import PolledWait, SharedPoll
from airflow_provider_vectorize.visibility import Target
from airflow_provider_vectorize.waiting import Wait

#: Added to the timeout of a deferral: the trigger ends itself at its deadline, unless no triggerer runs.
BACKSTOP_SECONDS = 60.0
#: Intervals for a wait that finds its deadline passed when it begins: enough for one look.
LATE_INTERVALS = 3


class VectorizeMutationTrigger(BaseTrigger):
    """Wait until writes can be seen; all waits on one index share their polls.

    The arguments are stored in the metadata database: they hold no secret and no vector.

    :param conn_id: a connection of type ``vectorize``.
    :param index_name: the index.
    :param targets: what to wait for, as :meth:`Target.to_dict` writes it.
    :param deadline: when the wait ends, in seconds since the epoch.
    :param poll_interval: seconds between two looks; the shortest of those who wait on the index counts.
    :param timeout: how many seconds the wait was given in all, for the message.
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
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no types
        if unknown:
            self.log.info("Ignoring arguments of another version: %s", ", ".join(sorted(unknown)))
        self.conn_id = conn_id
        self.index_name = index_name
        self.targets = [Target.from_dict(target) for target in targets]
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.timeout = timeout

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
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: see :func:`waited_for` and :func:`raise_for_status`."""
        wait = PolledWait(self.index_name, self.targets, self.poll_interval)
        left = 0.0
        try:
            # A triggerer that has just started may take many seconds to give the connection.
            settings = await self._settings()
            left = self.deadline - time.time()
            if left <= 0:
                # The deadline passed while no triggerer ran: what can be seen by now still counts.
                left = LATE_INTERVALS * self.poll_interval
            await asyncio.wait_for(self._wait(wait, settings), left)
        except TimeoutError:
            yield self._event("timeout", message=str(wait.timed_out(self.timeout or left)))
        except VectorizeError as error:
            self.log.error("The wait has failed: %s", error)  # noqa: TRY400  # expected, and said in full
            yield self._event("failed", message=str(error), permanent=error.permanent)
        else:
            # Here and not in the poll, which runs in the context of whoever started it.
            wait.log_evidence(self.log)
            yield self._event("visible")

    def _event(self, status: str, **more: Any) -> TriggerEvent:
        # It says what was waited for, too: what the task itself knew is gone.
        targets = [target.to_dict() for target in self.targets]
        return TriggerEvent({"status": status, "index_name": self.index_name, "targets": targets, **more})

    async def _wait(self, wait: PolledWait, settings: ConnectionSettings) -> None:
        while True:
            poll = SharedPoll.join(settings, wait)
            try:
                return await wait.ended
            except AuthenticationError:
                # The token may have been replaced meanwhile; if it was not, the refusal is final.
                renewed = await self._settings()
                if renewed == settings:
                    raise
                settings = renewed
            finally:
                poll.leave(wait)
            wait.begin()

    async def _settings(self) -> ConnectionSettings:
        return ConnectionSettings.from_connection(await get_async_connection(self.conn_id))


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
