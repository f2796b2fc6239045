"""The checkpoint of a load, kept in the state store of the task (Airflow 3.3 and later)."""

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

    @classmethod
    def current(cls) -> TaskCheckpoint | None:
        """Make the checkpoint of the task that runs here; None outside a task."""
        try:
            return cls.of(get_current_context())
        except (AirflowException, RuntimeError):
            return None

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
