"""Sensors: wait for an object and upload it; wait until a write can be seen."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseOperator,
    BaseSensorOperator,
    Context,
    TaskDeferred,
    XComArg,
)

from airflow_provider_vectorize.base import TaskOnIndex
from airflow_provider_vectorize.client.errors import MutationTimeoutError, SourceError, WaitAbortedError
from airflow_provider_vectorize.links import push_links
from airflow_provider_vectorize.operators.common import (
    DEFAULT_DEFERRABLE,
    fail_fast,
    interval,
    refuse_without_effect,
    seconds,
)
from airflow_provider_vectorize.operators.vectorize import VectorizeUpload
from airflow_provider_vectorize.sensors.mutations import Awaited, pack, unpack
from airflow_provider_vectorize.wording import in_short_lines, of_a_failure

# The rest is loaded when a task runs: a DAG file pays for what it imports at every parse.
if TYPE_CHECKING:
    from airflow_provider_vectorize.runtime.task import TaskRun

#: Airflow's loop without its check of who calls: 2.11 takes a call by a subclass for one from outside a task.
_poke_until_done = inspect.unwrap(BaseSensorOperator.execute)

#: Bytes of JSON that the source of a trigger takes at most: its row holds 65,535 on MySQL, encrypted.
MAX_SOURCE_BYTES = 40_000
#: A mutation id, or the report of an upload.
MutationId = str | Mapping[str, Any]


class _EndsWhenKilled(BaseSensorOperator):
    """A sensor that sleeps on the event that its ``on_kill`` sets, as every task on an index has it."""

    _run: TaskRun | None

    def _get_next_poke_interval(self, *args: Any, **kwargs: Any) -> float:
        # What Airflow would sleep through, so that a task that is told to stop ends at once.
        pause = float(super()._get_next_poke_interval(*args, **kwargs))
        if self.reschedule or self._run is None:
            return pause
        self._end_if_told_to(pause)
        return 0.0

    def _end_if_told_to(self, pause: float = 0.0) -> None:
        """Pause; a task that is told to stop ends at once, and is not deferred either."""
        if self._run is not None and self._run.stop.wait(pause):
            raise WaitAbortedError(f"The wait was told to stop. {self._so_far()}")

    def _so_far(self) -> str:
        """Say what is done already."""
        raise NotImplementedError


class VectorizeUpsertSensor(VectorizeUpload, _EndsWhenKilled):
    """Wait until an object (or every path of a list, or a match for a glob) is there, then upsert it.

    Returns the mutation id, and pushes the ``report``, as
    :class:`~airflow_provider_vectorize.operators.vectorize.VectorizeUpsertOperator` does. The upload is not part of
    the waiting: ``soft_fail``, ``never_fail`` and ``timeout`` cover the waiting only, and an upload that fails is
    always red.

    :param source: what to wait for and to upload. It must be whole once it is there; a glob is there as soon as one
        file matches. Templated.
    :param settled_seconds: where files grow in their place: for so long their sizes and marks must not have changed;
        default 0. Not in ``reschedule`` mode.
    :param deferrable: wait in the triggerer, for the source and for the upload's own wait. For paths of more than
        40,000 bytes together the wait is in the worker.

    The other parameters are those of :class:`~airflow_provider_vectorize.operators.vectorize.VectorizeUpload`
    without ``vectors``, and of a sensor, with Airflow's defaults: ``poke_interval`` (60 s), ``timeout`` (7 days),
    ``mode`` (``poke`` or ``reschedule``), ``soft_fail`` and so on.
    """

    operation = "upsert"
    waits_for_source = True
    #: Why the storage could not say, at the last look, whether the source is there.
    _obstacle: SourceError | None = None

    def __init__(self, *, settled_seconds: float | timedelta = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Airflow has made seconds of it.
        interval(self.task_id, "poke_interval", self.poke_interval)
        self.settled_seconds = 0.0
        if settled_seconds:
            self.settled_seconds = seconds(self.task_id, "settled_seconds", settled_seconds)
            refuse_without_effect(
                self.task_id,
                "in reschedule mode nothing is remembered from one poke to the next; use deferrable=True",
                settled_seconds=self.reschedule and not self.deferrable,
            )

    def poke(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Tell whether the source is there; while its storage cannot say, it is not."""
        from airflow_provider_vectorize.runtime.storage import described, places_of, snapshot
        from airflow_provider_vectorize.runtime.templates import refuse_leftovers

        assert self.source is not None  # noqa: S101  # else it does not wait
        self.log.info("Looking for %s", described(self.source))
        self._obstacle = None
        with fail_fast():
            refuse_leftovers(source=self.source)
            try:
                if self._settling.is_settled(snapshot(places_of(self.source))):
                    return True
            except SourceError as error:
                if error.permanent:
                    raise
                self._obstacle = error
                what = f"Not there yet, since the storage cannot say: {error}"
                self.log.warning("%s", in_short_lines(what))
        if self.deferrable:
            self._defer()
        return False

    def execute(self, context: Context) -> str:
        """Wait, then upload, and return the mutation id."""
        from airflow_provider_vectorize.runtime.storage import Settling, described

        run = self.begin(context)
        push_links(self, context, self.index_name, self.rejects_path)
        if self.source is None:
            return self.write(context, run)  # which knows what to do with nothing
        self._settling = Settling(self.settled_seconds)
        try:
            _poke_until_done(self, context)
        except (AirflowSensorTimeout, AirflowSkipException) as end:
            text = f"{end} Waited for {described(self.source)}"
            if self._obstacle is not None:
                text += f"; the last look failed: {self._obstacle}"
            kind = AirflowSkipException if self.never_fail else type(end)
            raise kind(of_a_failure(text)) from None
        return self.write(context, run)

    def object_found(self, context: Context, event: Any) -> str:
        """Go on after the wait for the source in the triggerer: upload, and return the mutation id."""
        from airflow_provider_vectorize.triggers.vectorize import check_event

        event = check_event(event)
        match event["status"]:
            case "found":
                return self.write(context, self.begin(context))
            case "timeout":
                end: AirflowException = AirflowSensorTimeout(of_a_failure(event["message"]))
            case "failed":
                end = AirflowFailException(of_a_failure(event["message"]))
            case unknown:
                raise AirflowException(
                    f"The trigger sent a status that this version does not know: {unknown!r}"
                )
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(str(end))
        raise end

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral: ``soft_fail`` is not for the upload, so it is not for all that follows."""
        return BaseOperator.resume_execution(self, next_method, next_kwargs, context)

    def _so_far(self) -> str:
        return "Nothing was uploaded"

    def _defer(self) -> None:
        from airflow_provider_vectorize.runtime.storage import listed
        from airflow_provider_vectorize.triggers.objects import GRACE_SECONDS, VectorizeObjectTrigger

        self._end_if_told_to()
        source = [dict(path) if isinstance(path, Mapping) else str(path) for path in listed(self.source)]
        if len(json.dumps(source)) > MAX_SOURCE_BYTES:
            self.log.warning("The triggerer cannot be given %d paths, so the wait goes on here", len(source))
            return
        trigger = VectorizeObjectTrigger(
            source=source,
            deadline=time.time() + self.timeout,
            poll_interval=self.poke_interval,
            settled_seconds=self.settled_seconds,
        )
        # The trigger ends itself, unless no triggerer runs.
        backstop = timedelta(seconds=self.timeout + 2 * GRACE_SECONDS + self.poke_interval)
        self.defer(trigger=trigger, method_name="object_found", timeout=backstop)


class VectorizeMutationSensor(TaskOnIndex, _EndsWhenKilled):
    """Wait until writes can be seen in the index, and prove it.

    It never ends early, whoever else writes to the index. It finds the ``report`` of an upload by itself among the
    XComs of the upstream tasks, for the records to recognise the write by; and where a look proves nothing it writes
    a fence, a mutation that changes nothing, which proves all that was accepted before.

    Returns the mutation id, or the list of them.

    :param index_name: the index; None: the report's, or else the connection's. Templated.
    :param mutation_id: ``upsert.output``: a mutation id, a report, or a list or lazy sequence of these, as a mapped
        upstream returns it. A list in gives a list out. Where nothing was written (an empty list, a sync that had
        nothing to send) it skips, and None of such a task in a list is left out. Templated.
    :param sentinel: write one vector of a reserved id in the namespace ``airflow-fence``, read it back and delete it:
        a sure proof on an index that others write to all the time.
    :param conn_id: a connection of type ``vectorize``. Templated.
    :param timeout: seconds after which the wait fails; default 600, and not Airflow's 7 days.
    :param poke_interval: seconds between two looks, at least 1; default 10. Each costs one request, with a read-back
        up to three, and every third time one more, of the 1,200 that a token has in 5 minutes.
    :param deferrable: wait in the triggerer; default: Airflow's ``[operators] default_deferrable``.

    The other parameters are those of a sensor. ``timeout``, ``poke_interval``, ``soft_fail`` and ``never_fail`` mean
    the same in every mode; ``exponential_backoff``, ``max_wait`` and ``silent_fail`` do nothing once it is deferred.
    """

    template_fields: Sequence[str] = ("index_name", "mutation_id", "conn_id")

    def __init__(
        self,
        *,
        index_name: str | None = None,
        mutation_id: MutationId | Iterable[MutationId] | XComArg,
        sentinel: bool = False,
        conn_id: str = "vectorize_default",
        timeout: float | timedelta = 600.0,
        poke_interval: float | timedelta = 10.0,
        deferrable: bool = DEFAULT_DEFERRABLE,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, poke_interval=poke_interval, **kwargs)
        self.index_name = index_name
        self.mutation_id = mutation_id
        self.sentinel = sentinel
        self.conn_id = conn_id
        self.deferrable = deferrable
        # Airflow has made seconds of them.
        interval(self.task_id, "poke_interval", self.poke_interval)
        seconds(self.task_id, "timeout", self.timeout)
        self._until: datetime | None = None

    def execute(self, context: Context) -> str | list[str]:
        """Wait, and return the mutation id, or the list of them."""
        run = self.begin(context)
        push_links(self, context, self.index_name)
        with fail_fast():
            self._prepare(context, run)
        self._until = self._end_of_time(context)
        if self.index_name is None:
            push_links(self, context, self._wait.index_name)
        memory = run.memory(self._wait) if self.reschedule else None
        if memory is not None:
            memory.restore()
        with self._sentinel_deleted():
            try:
                _poke_until_done(self, context)
            except AirflowSkipException as skip:
                self._say_why(skip)
                raise
            except AirflowSensorTimeout:
                text = of_a_failure(str(self._wait.timed_out(self.timeout)))
                # As after a deferral.
                raise (AirflowSkipException if self.never_fail else AirflowSensorTimeout)(text) from None
            finally:
                if memory is not None:
                    memory.save()
        return self._awaited.result

    def poke(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Look. An error that may pass says nothing, and the wait goes on."""
        with fail_fast(), self._ending.cutting_reads():
            if self._wait.look(self._client):
                return True
        if self.deferrable:
            # Within the sensor's own loop, so that whatever it does with errors holds here too.
            self._defer(self.timeout)
        self._wait.tell(self.log, self._until)
        return False

    def execute_complete(self, context: Context, event: Any, seen: str = "") -> str | list[str]:
        """Go on after the wait in the triggerer.

        :param seen: what had been seen before, as :func:`~airflow_provider_vectorize.sensors.mutations.pack` notes it.
        """
        from airflow_provider_vectorize.triggers.vectorize import check_event, raise_for_status

        event = check_event(event)
        part = event["status"] == "part"
        with fail_fast():
            self._prepare(context, self.begin(context), look_up=part, index_name=event["index_name"])
        with self._sentinel_deleted():
            try:
                raise_for_status(event)
            except MutationTimeoutError as timeout:
                raise AirflowSensorTimeout(of_a_failure(str(timeout))) from None
            if part:
                known = {*unpack(self._awaited.ids, seen), *event["mutation_ids"]}
                self._wait.pending = [each for each in self._wait.pending if each.mutation_id not in known]
                with fail_fast():
                    done = self._wait.done or self._wait.look(self._client)
                if not done:
                    self._defer(event["timeout"], event["deadline"])
        return self._awaited.result

    @contextmanager
    def _sentinel_deleted(self) -> Iterator[None]:
        """Delete the sentinel once the wait is over, however it ends."""
        from airflow.exceptions import AirflowRescheduleException  # of no use to a parser

        try:
            yield
        except (AirflowRescheduleException, TaskDeferred):
            raise  # it is not
        except BaseException:
            self.hook.delete_sentinel(self._wait)
            raise
        self.hook.delete_sentinel(self._wait)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral; Airflow 2 forgets ``never_fail`` there."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException as skip:
            self._say_why(skip)
            raise
        except AirflowException as error:
            if self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def _say_why(self, skip: AirflowSkipException) -> None:
        """Log what a skip is due to: Airflow says of ``soft_fail`` only that it is set."""
        if (cause := skip.__cause__) is not None:
            self.log.warning("%s", in_short_lines(f"Skipped: {cause}"))

    def _so_far(self) -> str:
        return f"The write was accepted: {self._wait.status()}"

    def _prepare(
        self, context: Context, run: TaskRun, *, look_up: bool = True, index_name: str | None = None
    ) -> None:
        from airflow_provider_vectorize.ending import Ending
        from airflow_provider_vectorize.visibility import Target

        self._awaited = awaited = Awaited.read(self.mutation_id)  # by now resolved
        if look_up:
            direct = set(self.upstream_task_ids)
            awaited.look_up(
                context["ti"], sorted(direct), sorted(self.get_flat_relative_ids(upstream=True) - direct)
            )
            if missing := awaited.missing:
                what = f"No upstream task has a report on {len(missing)} mutation(s), such as {missing[0]}: "
                self.log.info("%s", in_short_lines(f"{what}only the mutation itself or a fence proves them"))
        if not awaited.ids:
            raise AirflowSkipException("There is nothing to wait for: nothing was written")
        reports = awaited.reports
        self._wait = self.hook.begin_wait(
            index_name or self.hook.resolve_index_name(awaited.index_name(self.index_name)),
            [Target.from_dict(reports[each]) if each in reports else Target(each) for each in awaited.ids],
            sentinel=self.sentinel,
            run=run,
        )
        self._ending = Ending(stop=run.stop)
        self._client = self.hook.polling_client(self.timeout).within(self._ending)

    def _defer(self, timeout: float, deadline: float | None = None) -> None:
        from airflow_provider_vectorize.triggers.vectorize import deferral

        self._end_if_told_to()
        pending = {target.mutation_id for target in self._wait.pending}
        seen = pack(self._awaited.ids, (each for each in self._awaited.ids if each not in pending))
        arguments = deferral(self.conn_id, self._wait, self.poke_interval, timeout, deadline=deadline)
        self.defer(**arguments, kwargs={"seen": seen})

    def _end_of_time(self, context: Context) -> datetime | None:
        """Give the deadline of this life, in `reschedule` mode as far as Airflow tells it, from 3 on."""
        begun: datetime | None = datetime.now(UTC)
        if self.reschedule:
            first = getattr(context["ti"], "get_first_reschedule_date", None)
            begun = None if first is None else first(context) or begun
        return begun and begun + timedelta(seconds=self.timeout)
