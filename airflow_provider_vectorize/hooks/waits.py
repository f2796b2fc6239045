"""The hook's wait, and what can be waited for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.types import Mutation
from airflow_provider_vectorize.hooks.base import ConnectedHook
from airflow_provider_vectorize.ingest import Report
from airflow_provider_vectorize.visibility import Target
from airflow_provider_vectorize.waiting import Wait, sleep_briefly

Waitable = Report | Target | Mutation | Mapping[str, Any] | str | Iterable[Any]


class WaitMethods(ConnectedHook):
    """Wait until writes can be seen."""

    def wait_for_mutation(
        self,
        index_name: str | None,
        mutation: Waitable,
        *,
        poll_interval: float = 10.0,
        timeout: float = 600.0,
    ) -> None:
        """Wait until writes can be seen.

        :param index_name: None: the connection's.
        :param mutation: a report, its dict, a mutation as the client returns it, its id, or a list of these. A report
            is better than an id: it brings records to recognise the write by when others write to the index as well.
            For a delete, a :class:`~airflow_provider_vectorize.visibility.Target` can name ids that were there.
        :param poll_interval: seconds between two looks; each costs one request, with a read-back up to three, of
            the 1,200 that a token has in 5 minutes.
        :param timeout: seconds after which the wait fails.
        :raises MutationTimeoutError: saying what was last seen.
        """
        wait = Wait(self.resolve_index_name(index_name), targets_of(mutation))
        client = self.polling_client()
        deadline = time.monotonic() + timeout
        while not wait.look(client):
            left = deadline - time.monotonic()
            if left <= 0:
                raise wait.timed_out(timeout)
            time.sleep(min(poll_interval, left))
        self.delete_sentinels(wait)

    def delete_sentinels(self, wait: Wait) -> None:
        """Delete the vectors that were written only to recognise a write by, once all of them have been seen.

        Whatever goes wrong here is logged only, and soon: the writes are proved.
        """
        ids = [target.sentinel for target in wait.targets if target.sentinel is not None]
        if not ids:
            return
        try:
            self.settings.client(max_attempts=2, sleep=sleep_briefly).delete_by_ids(wait.index_name, ids)
        except Exception as error:  # noqa: BLE001  # the connection may be gone, too
            self.log.warning(
                "Index %r: the sentinels %s could not be deleted: %s", wait.index_name, ids, error
            )


def targets_of(mutation: Waitable) -> list[Target]:
    """Read what to wait for: a report, its dict, a mutation, its id, a target, or a list of these.

    :raises InvalidArgumentError: for anything else.
    """
    if isinstance(mutation, Report):
        return [mutation.target()]
    if isinstance(mutation, Target):
        return [mutation]
    if isinstance(mutation, Mutation):
        return [Target(mutation.id)]
    if isinstance(mutation, Mapping):
        return [Target.from_dict(mutation)]
    if isinstance(mutation, str):
        return [Target(mutation)]
    if isinstance(mutation, Iterable):
        return [target for item in mutation for target in targets_of(item)]
    raise InvalidArgumentError(
        f"a mutation is a report, its dict, a mutation, its id, a target or a list of these, got {mutation!r}"
    )
