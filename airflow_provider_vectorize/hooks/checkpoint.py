"""What a load needs to know of its task: where an earlier try stopped (Airflow 3.3 and later), if there was one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, get_current_context

from airflow_provider_vectorize.waiting import Sentinel, Wait

log = logging.getLogger(__name__)

KEY = "vectorize_checkpoint"
WAIT_KEY = "vectorize_wait"
#: Fences that are remembered, the last ones.
MAX_FENCES = 20


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


class WaitMemory:
    """Remember the fences of a wait from one poke to the next, where each is a process of its own.

    :param context: of the task.
    :param wait: the wait.
    """

    def __init__(self, context: Mapping[str, Any], wait: Wait) -> None:
        self._store = context.get("task_state_store")
        self._wait = wait
        self._mark = Sentinel.of(None, wait.targets).mark

    def restore(self) -> None:
        """Take up what was remembered."""
        state = None if self._store is None else self._store.get(WAIT_KEY)
        if isinstance(state, dict) and state.get("mark") == self._mark:
            self._wait.fences.extend(state["fences"])
        if self._store is None:
            if self._wait.sentinel is None:
                self._wait.fencer.refused = (
                    "in reschedule mode, an Airflow before 3.3 remembers none from one poke to the next; use "
                    "deferrable=True, mode='poke' or sentinel=True"
                )
            self._wait.fencer.forget()
        elif self._wait.fences:
            self._wait.fencer.forget()

    def save(self) -> None:
        """Remember; what is seen is forgotten."""
        if self._store is None:
            return
        if self._wait.done:
            self._store.delete(WAIT_KEY)
        elif self._wait.fences:
            self._store.set(WAIT_KEY, {"mark": self._mark, "fences": list(self._wait.fences)[-MAX_FENCES:]})


def current_context() -> Mapping[str, Any]:
    """Give the context of the task that runs here; empty outside a task."""
    try:
        return get_current_context()
    except (AirflowException, RuntimeError):
        return {}


def task_instance_name(context: Mapping[str, Any]) -> str | None:
    """Give a name that no other task instance has; None outside a task."""
    if "ti" not in context:
        return None
    ti = context["ti"]
    return "/".join(map(str, (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)))


def is_first_try(context: Mapping[str, Any]) -> bool:
    """Tell whether no earlier try of the task can have sent anything."""
    return "ti" not in context or context["ti"].try_number <= 1
