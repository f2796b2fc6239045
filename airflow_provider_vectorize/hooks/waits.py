"""The hook's wait, and what can be waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_vectorize.client import limits
from airflow_provider_vectorize.client.errors import InvalidArgumentError, WaitAbortedError
from airflow_provider_vectorize.client.types import Mutation
from airflow_provider_vectorize.ending import Ending
from airflow_provider_vectorize.hooks.base import LAST_LOOK_SECONDS, ConnectedHook
from airflow_provider_vectorize.ingest import Report
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.sync.report import SyncReport
from airflow_provider_vectorize.visibility import Target
from airflow_provider_vectorize.waiting import Sentinel, Wait, sleep_briefly

Waitable = Report | SyncReport | Target | Mutation | Mapping[str, Any] | str | Iterable[Any]


class WaitMethods(ConnectedHook):
    """Wait until writes can be seen."""

    def wait_for_mutation(
        self,
        index_name: str | None,
        mutation: Waitable,
        *,
        poll_interval: float = 10.0,
        timeout: float = 600.0,
        sentinel: bool = False,
    ) -> None:
        """Wait until writes can be seen.

        :param index_name: None: the connection's.
        :param mutation: a report, its dict, a mutation as the client returns it, its id, or a list of these. A report
            is better than an id: it brings records to recognise the write by.
            For a delete, a :class:`~airflow_provider_vectorize.visibility.Target` can name ids that were there.
        :param poll_interval: seconds between two looks, at least 1; each costs one request, with a read-back up to
            three, and every third time one more, of the 1,200 that a token has in 5 minutes.
        :param timeout: seconds after which the wait fails.
        :param sentinel: write one vector of a reserved id, read it back and delete it: a sure proof on an index that
            others write to all the time.
        :raises MutationTimeoutError: saying what was last seen.

        Of a report that nothing was written there is nothing to wait for.
        """
        if not poll_interval >= limits.MIN_POLL_SECONDS:
            raise InvalidArgumentError(f"poll_interval must be at least 1 s, got {poll_interval!r}")
        if not timeout > 0:
            raise InvalidArgumentError(f"timeout must be above 0 s, got {timeout!r}")
        targets = targets_of(mutation)
        if not targets:
            return
        wait = self.begin_wait(self.resolve_index_name(index_name), targets, sentinel=sentinel)
        self.finish_wait(wait, poll_interval=poll_interval, timeout=timeout)

    def begin_wait(
        self,
        index_name: str,
        targets: Iterable[Target],
        *,
        sentinel: bool,
        run: TaskRun | None = None,
    ) -> Wait:
        """Make a wait, before the first look.

        :param run: the task that waits; None: the one that runs here, if any.
        """
        targets = list(targets)
        owner = (run or TaskRun.current()).name
        return Wait(index_name, targets, sentinel=Sentinel.of(owner, targets) if sentinel else None)

    def finish_wait(
        self,
        wait: Wait,
        *,
        poll_interval: float,
        timeout: float,
        stop: threading.Event | None = None,
    ) -> None:
        """Look until everything can be seen, in this thread.

        :param stop: ends the wait once it is set.
        :raises MutationTimeoutError: saying what was last seen.
        :raises WaitAbortedError: ``stop`` was set.
        """
        stop = stop or threading.Event()
        ending = Ending(stop=stop)
        client = self.polling_client(timeout).within(ending)
        deadline = time.monotonic() + timeout
        until = datetime.now(UTC) + timedelta(seconds=timeout)
        try:
            while True:
                with ending.cutting_reads():
                    if wait.look(client):
                        return
                now = time.monotonic()
                if now >= deadline:
                    raise wait.timed_out(timeout)
                wait.tell(self.log, until)
                if stop.wait(min(poll_interval, deadline - now)):
                    raise _aborted(wait)
        finally:
            self.delete_sentinel(wait)

    def first_look(self, wait: Wait, *, timeout: float, stop: threading.Event) -> bool:
        """Look once, before a wait elsewhere; tell whether everything can be seen already.

        :param timeout: seconds of that wait.
        :param stop: cuts the look once it is set.
        :raises WaitAbortedError: ``stop`` was set.
        """
        ending = Ending(stop=stop)
        with ending.cutting_reads():
            done = wait.look(self.polling_client(timeout).within(ending))
        if not done and stop.is_set():
            raise _aborted(wait)
        return done

    def delete_sentinel(self, wait: Wait) -> None:
        """Delete the sentinel of a wait that is over.

        Whatever goes wrong here is logged only, and soon: it says nothing about the writes.
        """
        if wait.sentinel is None or wait.fencer.refused is not None:
            return
        try:
            client = self.settings.client(max_attempts=2, sleep=sleep_briefly, renew=self._read_secret)
            client.within(seconds=LAST_LOOK_SECONDS).delete_by_ids(wait.index_name, [wait.sentinel.id])
        except Exception as error:  # noqa: BLE001  # the connection may be gone, too
            self.log.warning(
                "Index %r: the sentinel %s could not be deleted: %s", wait.index_name, wait.sentinel.id, error
            )


def _aborted(wait: Wait) -> WaitAbortedError:
    return WaitAbortedError(f"The wait was told to stop. The write was accepted: {wait.status()}")


def targets_of(mutation: object) -> list[Target]:
    """Read what to wait for: a report, its dict, a mutation, its id, a target, or a list of these.

    A report that nothing was written gives no target.

    :raises InvalidArgumentError: for anything else, and for an empty list.
    """
    if isinstance(mutation, Report | SyncReport):
        return [] if mutation.mutation_id is None else [mutation.target()]
    if isinstance(mutation, Target):
        return [mutation]
    if isinstance(mutation, Mutation):
        return [Target(mutation.id)]
    if isinstance(mutation, Mapping) and "mutation_id" in mutation:
        return [] if mutation["mutation_id"] is None else [Target.from_dict(mutation)]
    if isinstance(mutation, str):
        return [Target(mutation)]
    if isinstance(mutation, Iterable) and not isinstance(mutation, Mapping | bytes):
        items = list(mutation)
        if not items:
            raise InvalidArgumentError("there is nothing to wait for: the list of mutations is empty")
        return [target for item in items for target in targets_of(item)]
    raise InvalidArgumentError(
        f"a mutation is a report, its dict, a mutation, its id, a target or a list of these, got {mutation!r}"
    )
