"""``@task.vectorize_upsert`` and ``@task.vectorize_sync``: tasks of functions that return or yield records."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, Required, TypedDict, Unpack, overload

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    Context,
    DecoratedOperator,
    context_merge,
    task_decorator_factory,
)

from airflow_provider_vectorize.client.errors import EmptySourceError, InvalidArgumentError, SourceError
from airflow_provider_vectorize.client.types import UnparsableBehavior
from airflow_provider_vectorize.operators.resolving import determine_kwargs
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import Task

    from airflow_provider_vectorize.runtime.task import TaskRun

_Params = ParamSpec("_Params")
#: The argument of a function for what the index is known to hold.
KNOWN = "known"
#: What the function returns or yields: mappings, lines of NDJSON, NDJSON text.
Records = Iterable[Mapping[str, Any] | bytes | str] | bytes | str | None


class UpsertOptions(TypedDict, total=False):
    """What ``@task.vectorize_upsert`` takes: the parameters of :class:`VectorizeUpsertOperator` and of any task."""

    index_name: str | None
    conn_id: str
    columns: Mapping[str, Any] | None
    namespace: str | None
    drop_nulls: bool
    on_invalid: Literal["fail", "reject"]
    rejects_path: str | PathLike[str] | None
    max_rejects: int
    on_empty: Literal["fail", "skip"]
    compact: bool
    max_batch_vectors: int
    max_batch_bytes: int
    max_in_flight: int
    flush_seconds: float
    unparsable_behavior: UnparsableBehavior
    verify: Literal["none", "sample", "all"]
    verify_sample: int
    wait_for_completion: bool
    sentinel: bool
    poll_interval: float | timedelta
    completion_timeout: float | timedelta
    deferrable: bool
    task_id: str
    retries: int
    retry_delay: timedelta | float
    execution_timeout: timedelta | None
    pool: str
    queue: str
    priority_weight: int
    trigger_rule: str
    max_active_tis_per_dag: int | None
    map_index_template: str | None
    doc_md: str | None
    do_xcom_push: bool
    outlets: Any
    inlets: Any


class SyncTaskOptions(UpsertOptions, total=False):
    """What ``@task.vectorize_sync`` takes: the parameters of :class:`VectorizeSyncOperator` and of any task."""

    manifest: Required[str | PathLike[str]]
    changed_by: str
    id_prefix: str | None
    max_delete_fraction: float
    min_records: int
    force: bool
    reconcile: bool
    dry_run: bool


class _GivenByFunction(DecoratedOperator):
    """An upload of what a function returns or yields; what it yields is read as it goes.

    :param python_callable: the function.
    :param op_args: its arguments. Templated.
    :param op_kwargs: its keyword arguments. Templated.
    """

    custom_operator_name: ClassVar[str]

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.name = getattr(python_callable, "__name__", repr(python_callable))
        for argument in ("vectors", "source"):
            if kwargs.get(argument) is not None:
                raise InvalidArgumentError(
                    f"{self._place()} the vectors are what the function returns or yields, so {argument} cannot be "
                    "given"
                )
        if inspect.iscoroutinefunction(python_callable) or inspect.isasyncgenfunction(python_callable):
            raise InvalidArgumentError(f"{self._place()} the function must be a plain one, not async")
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, vectors=(), **kwargs
        )

    def _place(self) -> str:
        return f"{self.custom_operator_name} on {self.name}():"

    def write(self, context: Context, run: TaskRun) -> Any:
        """Upload what the function gives; when it asks Airflow to skip or to fail, that is what happens."""
        try:
            return super().write(context, run)  # type: ignore[misc]  # of the operator that it stands before
        except SourceError as error:
            if isinstance(error.__cause__, AirflowSkipException | AirflowFailException):
                raise error.__cause__ from None
            raise

    def given_vectors(self, context: Context) -> Any:
        """Call the function."""
        return self._called(context)

    def _called(self, context: Context, **more: Any) -> Any:
        context_merge(context, self.op_kwargs)
        kwargs = {**determine_kwargs(self.python_callable, self.op_args, context), **more}
        vectors = self.python_callable(*self.op_args, **kwargs)
        if vectors is None:
            raise EmptySourceError(f"There is nothing to load: {self.name}() returned None")
        return vectors


class VectorizeUpsertDecoratedOperator(_GivenByFunction, VectorizeUpsertOperator):
    """The task of a function that returns or yields records. Use ``@task.vectorize_upsert``."""

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *VectorizeUpsertOperator.template_fields,
    )
    custom_operator_name = "@task.vectorize_upsert"


class VectorizeSyncDecoratedOperator(_GivenByFunction, VectorizeSyncOperator):
    """The task of a function that returns or yields all records of a source. Use ``@task.vectorize_sync``."""

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *VectorizeSyncOperator.template_fields,
    )
    custom_operator_name = "@task.vectorize_sync"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._asks = KNOWN in inspect.signature(python_callable).parameters
        if self._asks:
            if op_kwargs and op_kwargs.get(KNOWN) is not None:
                raise InvalidArgumentError(
                    f"{self.custom_operator_name}: {KNOWN} is what the index holds when the task runs, so it cannot be "
                    "given"
                )
            # Airflow binds the arguments when the DAG is parsed; what the index holds is known when the task runs.
            op_kwargs = {**(op_kwargs or {}), KNOWN: None}
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def given_vectors(self, context: Context) -> Any:
        """Give what calls the function, once it is known what the index holds."""
        return lambda known: self._called(context, **({KNOWN: known} if self._asks else {}))


@overload
def vectorize_upsert_task(
    python_callable: None = None, **options: Unpack[UpsertOptions]
) -> Callable[[Callable[_Params, Records]], Task[_Params, str]]: ...


@overload
def vectorize_upsert_task(python_callable: Callable[_Params, Records]) -> Task[_Params, str]: ...


def vectorize_upsert_task(python_callable: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a task of a function that returns **or yields** records: what it gives is loaded into an index.

    Airflow knows it as ``@task.vectorize_upsert``; imported from here, editors know its parameters.

    .. code-block:: python

        @task.vectorize_upsert(index_name="docs", wait_for_completion=True)
        def load(chunks):
            for chunk in chunks:
                yield {"id": chunk["id"], "values": embed(chunk["text"])}

    The task returns the mutation id and pushes the ``report``. A generator is read as it goes: vectors are sent while
    it runs, in bounded memory.

    :param python_callable: the function.
    :param options: the parameters of :class:`VectorizeUpsertOperator` but for ``vectors`` and ``source``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=VectorizeUpsertDecoratedOperator,
        **options,
    )


@overload
def vectorize_sync_task(
    python_callable: None = None, **options: Unpack[SyncTaskOptions]
) -> Callable[[Callable[_Params, Records]], Task[_Params, str | None]]: ...


@overload
def vectorize_sync_task(python_callable: Callable[_Params, Records]) -> Task[_Params, str | None]: ...


def vectorize_sync_task(python_callable: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a task of a function that returns **or yields** all records of a source: the index is made to hold them.

    Airflow knows it as ``@task.vectorize_sync``; imported from here, editors know its parameters. A function with an
    argument ``known`` can ask before it embeds:

    .. code-block:: python

        @task.vectorize_sync(index_name="docs", manifest="s3://bucket/docs", changed_by="metadata.content_hash")
        def docs(known=None):
            for text in texts():
                if not known.unchanged(text.id, text.content_hash):
                    yield {"id": text.id, "values": embed(text), "metadata": {"content_hash": text.content_hash}}

    A record of which ``known.unchanged(id, value)`` is true counts as one of the source; ``value`` is what
    ``changed_by`` names. The task returns the mutation id, or None when there was nothing to send, and pushes the
    ``report``.

    :param python_callable: the function. ``known`` is not given by whoever calls it.
    :param options: the parameters of :class:`~airflow_provider_vectorize.operators.sync.VectorizeSyncOperator` but for
        ``vectors`` and ``source``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=VectorizeSyncDecoratedOperator,
        **options,
    )
