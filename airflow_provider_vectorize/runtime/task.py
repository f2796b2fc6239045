"""The task that runs here: which try of which life it is, what its earlier tries noted, and whether it is to stop."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowException, get_current_context

from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.waiting import Sentinel, Wait

log = logging.getLogger(__name__)

#: Keys in the state store of a task instance begin with it.
PREFIX = "vectorize_"
WAIT_KEY = f"{PREFIX}wait"
#: For who looks at the task's state while it runs.
PROGRESS_KEY = "progress"
_PROGRESS = (
    "operation", "index_name", "accepted", "rejected", "superseded", "batches", "bytes_read", "bytes_sent", "retries",
    "seconds",
)  # fmt: skip
#: Fences that are remembered, the last ones.
MAX_FENCES = 20


class TaskRun:
    """What a load and a wait need to know of the task that they run in. The hook and the operators use the same.

    There is one for each try of a task instance. A task instance has one life until it is cleared, and then another:
    its first try is ``max_tries - retries + 1``.

    :param context: of the task; empty outside of one.
    """

    _last: ClassVar[TaskRun | None] = None

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._store = context.get("task_state_store")
        self._ti = context.get("ti")
        self._try_number = None if self._ti is None else self._ti.try_number
        self._retries = context["task"].retries or 0 if "task" in context else 0
        self._loads: Counter[str] = Counter()
        #: Set when the task is to stop; every loop sleeps on it.
        self.stop = threading.Event()

    @classmethod
    def begin(cls, context: Mapping[str, Any]) -> TaskRun:
        """Make that of the try that begins here; what the hook does in it is part of it."""
        cls._last = run = cls(context)
        return run

    @classmethod
    def current(cls) -> TaskRun:
        """Give that of the try that runs here."""
        try:
            context = get_current_context()
        except (AirflowException, RuntimeError):
            return cls({})
        last = cls._last
        return last if last is not None and last.is_of(context["ti"]) else cls.begin(context)

    def is_of(self, ti: Any) -> bool:
        """Tell whether it is that of the try that a task instance is at: one object may serve all its tries."""
        return self._ti is ti and self._try_number == getattr(ti, "try_number", None)

    @property
    def name(self) -> str | None:
        """A name that no other task instance has; None outside of a task."""
        if self._ti is None:
            return None
        return "/".join(map(str, (self._ti.dag_id, self._ti.run_id, self._ti.task_id, self._ti.map_index)))

    @property
    def tried_before(self) -> bool:
        """Whether an earlier try, of whatever life, may have sent something."""
        return self._ti is not None and self._ti.try_number > 1

    @property
    def life(self) -> int:
        """The first try of this life."""
        return 1 if self._ti is None else self._ti.max_tries - self._retries + 1

    def checkpoint(self, *load: object) -> TaskCheckpoint | None:
        """Give the checkpoint of the load that begins here; None where Airflow has no state store, before 3.3.

        :param load: what it is; of loads that are the same in this, each of a try has its own, in their order.
        """
        if self._store is None:
            return None
        same = json.dumps(load, default=str)
        key = f"{PREFIX}{_digest(same, self._loads[same])}"
        self._loads[same] += 1
        return TaskCheckpoint(self._store, key, life=self.life, stop=self.stop)

    @property
    def progress(self) -> Callable[[Report], None] | None:
        """What notes how far a load has come; None where Airflow has no state store, before 3.3."""
        return None if self._store is None else self._tell

    def _tell(self, report: Report) -> None:
        told = report.to_dict()
        value = {name: told[name] for name in _PROGRESS} | {"try_number": self._try_number}
        assert self._store is not None  # noqa: S101  # else nobody is given this method
        try:
            self._store.set(PROGRESS_KEY, value)
        except Exception as error:  # noqa: BLE001  # stores are foreign code, and the load does not need it
            log.debug("The progress could not be stored: %r", error)

    def memory(self, wait: Wait) -> WaitMemory:
        """Give what is remembered of a wait from one poke to the next."""
        return WaitMemory(self._store, wait)


def _digest(*parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


class TaskCheckpoint:
    """Keep one JSON object for a load; it outlives retries, and is of no use to another life.

    :param store: ``context["task_state_store"]``.
    :param key: of the load.
    :param life: first try of this life.
    :param stop: set when the task turns out to run for nobody.
    """

    def __init__(self, store: Any, key: str, *, life: int, stop: threading.Event) -> None:
        self._store = store
        self._key = key
        self._life = life
        self._stop = stop
        self._parent = os.getppid()

    def load(self) -> dict[str, Any] | None:
        """Give what an earlier try of this life has saved last."""
        return self._note().get("state")

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace what was saved."""
        self._write(state=dict(state))

    def report(self) -> dict[str, Any] | None:
        """Give the report of a load that an earlier try of this life has done, if it was kept.

        A failure is logged only: the load is done again.
        """
        try:
            return self._note().get("report")
        except Exception as error:  # noqa: BLE001  # stores are foreign code
            log.warning("Whether an earlier try has done all of it cannot be read: %r", error)
            return None

    def keep_report(self, report: Mapping[str, Any]) -> None:
        """Note that the load is done. A failure is logged only: a retry loads again."""
        try:
            self._write(report=dict(report))
        except Exception as error:  # noqa: BLE001  # stores are foreign code
            log.warning("The report could not be kept, so a retry loads again: %r", error)

    def clear(self) -> None:
        """Forget what was saved. A failure is logged only: the load itself is done."""
        try:
            self._store.delete(self._key)
        except Exception:
            log.warning("The checkpoint could not be deleted; it expires by itself", exc_info=True)

    def _note(self) -> Mapping[str, Any]:
        note = self._store.get(self._key)
        if not isinstance(note, dict):
            return {}
        if note.get("life") != self._life:
            age = timedelta(seconds=round(time.time() - note.get("at", 0)))
            log.info("The task was cleared since a load was noted, %s ago, so the load starts again", age)
            return {}
        return note

    def _write(self, **note: Any) -> None:
        try:
            self._store.set(self._key, {"life": self._life, "at": time.time(), **note})
        except (BrokenPipeError, ConnectionResetError, EOFError):
            if os.getppid() != self._parent:
                log.error("Nobody supervises this task any more, so it stops")  # noqa: TRY400  # said in full
                self._stop.set()
            raise


class WaitMemory:
    """Remember the fences of a wait from one poke to the next, where each is a process of its own.

    :param store: ``context["task_state_store"]``; None before Airflow 3.3.
    :param wait: the wait.
    """

    def __init__(self, store: Any, wait: Wait) -> None:
        self._store = store
        self._wait = wait
        self._mark = Sentinel.of(None, wait.targets).mark

    def restore(self) -> None:
        """Take up what was remembered. A failure is logged: the wait does without."""
        try:
            state = None if self._store is None else self._store.get(WAIT_KEY)
        except Exception as error:  # noqa: BLE001  # stores are foreign code
            log.warning("What earlier pokes have written cannot be read: %r", error)
            self._wait.fencer.forget()
            return
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
        """Remember; once all is seen, forget. A failure is logged, as above."""
        if self._store is None:
            return
        try:
            if self._wait.done:
                self._store.delete(WAIT_KEY)
            elif self._wait.fences:
                fences = list(self._wait.fences)[-MAX_FENCES:]
                self._store.set(WAIT_KEY, {"mark": self._mark, "fences": fences})
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("What this poke has written cannot be remembered: %r", error)
