"""What a load needs to know of its task: where an earlier try stopped (Airflow 3.3 and later), if there was one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, get_current_context

log = logging.getLogger(__name__)

KEY = "vectorize_checkpoint"


class TaskCheckpoint:
    """Keep one JSON object for the task instance; it outlives retries.

    :param store: ``context["task_state_store"]``.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> TaskCheckpoint | None:
        """Make the checkpoint of the running task; None where Airflow has no state store."""
        store = context.get("task_state_store")
        return None if store is None else cls(store)

    def load(self) -> dict[str, Any] | None:
        """Give what was saved last."""
        saved = self._store.get(KEY)
        return saved if isinstance(saved, dict) else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace what was saved."""
        self._store.set(KEY, dict(state))

    def clear(self) -> None:
        """Forget what was saved. A failure is logged only: the load itself is done."""
        try:
            self._store.delete(KEY)
        except Exception:
            log.warning("The checkpoint could not be deleted; it expires by itself", exc_info=True)


def current_context() -> Mapping[str, Any]:
    """Give the context of the task that runs here; empty outside a task."""
    try:
        return get_current_context()
    except (AirflowException, RuntimeError):
        return {}


def is_first_try(context: Mapping[str, Any]) -> bool:
    """Tell whether no earlier try of the task can have sent anything."""
    return "ti" not in context or context["ti"].try_number <= 1
