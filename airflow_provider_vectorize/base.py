"""What all tasks on an index have in common."""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink, Context

from airflow_provider_vectorize.links import VectorizeIndexLink

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
    from airflow_provider_vectorize.runtime.task import TaskRun


class TaskOnIndex(BaseOperator):
    """What all tasks on an index have in common: the hook, the button to the index, and the end when they are killed.

    Use one of its subclasses.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (VectorizeIndexLink(),)
    conn_id: str
    _run: TaskRun | None = None

    @cached_property
    def hook(self) -> VectorizeHook:
        """The hook of ``conn_id``."""
        from airflow_provider_vectorize.hooks.vectorize import VectorizeHook

        return VectorizeHook(self.conn_id)

    def begin(self, context: Context) -> TaskRun:
        """Begin a try: what is done in it ends once its ``stop`` is set."""
        from airflow_provider_vectorize.runtime.task import TaskRun

        self._run = TaskRun.begin(context)
        return self._run

    def on_kill(self) -> None:
        """End what the task does: it begins no request any more, and keeps what a retry needs to go on."""
        if self._run is not None:
            self._run.stop.set()

    def render_template(
        self, content: Any, context: Any, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        """Render, but for paths: Airflow 3.1 takes their ``resolve()`` for its own."""
        if isinstance(content, PurePath):
            return content
        return super().render_template(content, context, jinja_env, seen_oids)
