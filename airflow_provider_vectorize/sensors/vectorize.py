"""Sensors: wait for an object and upload it; wait until a write can be seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseOperator,
    BaseSensorOperator,
    Context,
    XComArg,
)

from airflow_provider_vectorize.client.errors import InvalidArgumentError, MutationTimeoutError, SourceError
from airflow_provider_vectorize.client.limits import MAX_MUTATION_ID_CHARS
from airflow_provider_vectorize.operators.common import fail_fast, interval, seconds
from airflow_provider_vectorize.operators.vectorize import DEFAULT_DEFERRABLE, VectorizeUpload

# The rest is loaded when a task runs: a DAG file pays for what it imports at every parse.
if TYPE_CHECKING:
    from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
    from airflow_provider_vectorize.visibility import Target
    from airflow_provider_vectorize.waiting import Wait

_SEPARATORS = re.compile(r"[\s,\[\]()'\"]+")
_MUTATION_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_MUTATION_ID_CHARS}}}")
#: What a template makes of an XCom that is missing, and Airflow 2 of a mapped upstream: words, but no ids.
_RENDERED = re.compile(r"None|null|Lazy.*")


class VectorizeUpsertSensor(VectorizeUpload, BaseSensorOperator):
    """Wait until an object (or every path of a list, or a match for a glob) is there, then upsert it.

    Returns the mutation id, and pushes the ``report``, as
    :class:`~airflow_provider_vectorize.operators.vectorize.VectorizeUpsertOperator` does. The upload is not part of
    the waiting: ``soft_fail``, ``never_fail`` and ``timeout`` cover the waiting only, and an upload that fails is
    always red.

    :param source: what to wait for and to upload. It must be whole once it is there; a glob is there as soon as one
        file matches. Templated.

    The other parameters are those of :class:`~airflow_provider_vectorize.operators.vectorize.VectorizeUpload`
    without ``vectors``, and of a sensor, with Airflow's defaults: ``poke_interval`` (60 s), ``timeout`` (7 days),
    ``mode`` (``poke`` or ``reschedule``), ``soft_fail`` and so on.
    """

    operation = "upsert"
    waits_for_source = True
    #: Why the storage could not say, at the last look, whether the source is there.
    _obstacle: SourceError | None = None

    def poke(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Tell whether the source is there; while its storage cannot say, it is not."""
        from airflow_provider_vectorize.hooks.storage import described, source_exists

        assert self.source is not None  # noqa: S101  # the constructor requires it
        self.log.info("Looking for %s", described(self.source))
        self._obstacle = None
        with fail_fast():
            try:
                return source_exists(self.source)
            except SourceError as error:
                if error.permanent:
                    raise
                self._obstacle = error
        self.log.warning("Not there yet, since the storage cannot say: %s", self._obstacle)
        return False

    def execute(self, context: Context) -> str:
        """Wait, then upload, and return the mutation id."""
        from airflow_provider_vectorize.hooks.storage import described

        try:
            BaseSensorOperator.execute(self, context)
        except (AirflowSensorTimeout, AirflowSkipException) as end:
            text = f"{end} Waited for {described(self.source)}"
            if self._obstacle is not None:
                text += f"; the last look failed: {self._obstacle}"
            raise type(end)(text) from end
        return self.upload(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral: only the upload's own wait defers, and that is not for ``soft_fail``."""
        return BaseOperator.resume_execution(self, next_method, next_kwargs, context)


class VectorizeMutationSensor(BaseSensorOperator):
    """Wait until writes can be seen in the index, and prove it.

    It never ends early, whoever else writes to the index. It brings along what the upload's ``report`` knows, which
    it finds by itself among the XComs of the upstream tasks; without a report only the mutation itself proves the
    write, and on an index with other writers the API may never show that.

    Returns the mutation id, or the list of them.

    :param index_name: the index; None: the connection's. Templated.
    :param mutation_id: a mutation id (``mutation_id=upsert.output``), a list of them (a mapped upstream's output
        too), or text with ids in it. Templated.
    :param conn_id: a connection of type ``vectorize``. Templated.
    :param timeout: seconds after which the wait fails; default 600, and not Airflow's 7 days.
    :param poke_interval: seconds between two looks; default 10. Each costs one request, with a read-back up to three,
        of the 1,200 that a token has in 5 minutes.
    :param deferrable: wait in the triggerer; default: Airflow's ``[operators] default_deferrable``.

    The other parameters are those of a sensor. ``timeout``, ``poke_interval``, ``soft_fail`` and ``never_fail`` mean
    the same in every mode; ``exponential_backoff``, ``max_wait`` and ``silent_fail`` do nothing once it is deferred.
    """

    template_fields: Sequence[str] = ("index_name", "mutation_id", "conn_id")

    def __init__(
        self,
        *,
        index_name: str | None = None,
        mutation_id: str | Iterable[str] | XComArg,
        conn_id: str = "vectorize_default",
        timeout: float | timedelta = 600.0,
        poke_interval: float | timedelta = 10.0,
        deferrable: bool = DEFAULT_DEFERRABLE,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, poke_interval=poke_interval, **kwargs)
        self.index_name = index_name
        self.mutation_id = mutation_id
        self.conn_id = conn_id
        self.deferrable = deferrable
        # Airflow has made seconds of them.
        interval(self.task_id, "poke_interval", self.poke_interval)
        seconds(self.task_id, "timeout", self.timeout)

    @cached_property
    def hook(self) -> VectorizeHook:
        """The hook of ``conn_id``."""
        from airflow_provider_vectorize.hooks.vectorize import VectorizeHook

        return VectorizeHook(self.conn_id)

    def execute(self, context: Context) -> str | list[str]:
        """Wait, and return the mutation id, or the list of them."""
        from airflow_provider_vectorize.waiting import Wait

        with fail_fast():
            self._wait = Wait(self.hook.resolve_index_name(self.index_name), self._targets(context))
            self._client = self.hook.polling_client()
        try:
            super().execute(context)
        except AirflowSensorTimeout as timeout:
            text = str(self._wait.timed_out(self.timeout))
            # As after a deferral.
            raise (AirflowSkipException if self.never_fail else AirflowSensorTimeout)(text) from timeout
        self.hook.delete_sentinels(self._wait)
        return _ids(self._wait)

    def poke(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Look. An error that may pass says nothing, and the wait goes on."""
        with fail_fast():
            if self._wait.look(self._client):
                return True
        if self.deferrable:
            from airflow_provider_vectorize.triggers.vectorize import deferral

            # Within the sensor's own loop, so that whatever it does with errors holds here too.
            self.defer(**deferral(self.conn_id, self._wait, self.poke_interval, self.timeout))
        self.log.info("No proof yet for %d mutation(s)", len(self._wait.pending))
        return False

    def execute_complete(self, context: Context, event: Any) -> str | list[str]:  # noqa: ARG002  # Airflow's signature
        """Go on after the wait in the triggerer."""
        from airflow_provider_vectorize.triggers.vectorize import raise_for_status, waited_for

        wait = waited_for(event)
        try:
            raise_for_status(event)
        except MutationTimeoutError as timeout:
            raise AirflowSensorTimeout(str(timeout)) from timeout
        self.hook.delete_sentinels(wait)
        return _ids(wait)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral; Airflow 2 forgets ``never_fail`` there."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException as error:
            if self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def _targets(self, context: Context) -> list[Target]:
        from airflow_provider_vectorize.visibility import Target

        ids = mutation_ids(self.mutation_id)
        reports = self._reports(context)
        for id_ in ids:
            if id_ not in reports:
                self.log.warning(
                    "No upstream task has a report on mutation %s: only the mutation itself can prove the write, and "
                    "the API shows just the last of those that it applies together",
                    id_,
                )
        return [reports.get(id_) or Target(id_) for id_ in ids]

    def _reports(self, context: Context) -> Mapping[str, Target]:
        direct = set(self.upstream_task_ids)
        others = self.get_flat_relative_ids(upstream=True) - direct
        from airflow_provider_vectorize.visibility import Target

        # The direct ones last, so that theirs win.
        task_ids = [*sorted(others), *sorted(direct)]
        if not task_ids:
            return {}
        found = context["ti"].xcom_pull(task_ids=task_ids, key="report")
        return {
            report["mutation_id"]: Target.from_dict(report)
            for report in found or ()
            if isinstance(report, Mapping) and "mutation_id" in report
        }


def mutation_ids(value: Any) -> list[str]:
    """Read mutation ids: one, a list (a lazy sequence of XComs too), or text with ids in it.

    :raises InvalidArgumentError: when there is none, or something else.
    """
    if isinstance(value, str):
        ids = [part for part in _SEPARATORS.split(value) if part]
    elif isinstance(value, Iterable):
        ids = [id_ for item in value for id_ in mutation_ids(item)]
    else:
        ids = []
    if not ids or not all(_MUTATION_ID.fullmatch(id_) and not _RENDERED.fullmatch(id_) for id_ in ids):
        raise InvalidArgumentError(
            f"mutation_id must be one or more mutation ids, got {str(value)[:200]!r}: did the upstream task upload "
            "something? Pass its output as it is, mutation_id=upload.output, and not by a template"
        )
    return list(dict.fromkeys(ids))


def _ids(wait: Wait) -> str | list[str]:
    ids = [target.mutation_id for target in wait.targets]
    return ids if len(ids) > 1 else ids[0]
