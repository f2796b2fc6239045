"""``@task.vectorize_upsert``: a task of a function that returns or yields records."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypedDict, Unpack, overload

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    Context,
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_vectorize.client.errors import EmptySourceError, InvalidArgumentError, SourceError
from airflow_provider_vectorize.client.types import UnparsableBehavior
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import Task

_Params = ParamSpec("_Params")
#: What the function returns or yields: mappings, lines of NDJSON, NDJSON text.
Records = Iterable[Mapping[str, Any] | bytes | str] | bytes | str | None


class UpsertOptions(TypedDict, total=False):
    """What ``@task.vectorize_upsert`` takes: the parameters of :class:`VectorizeUpsertOperator` and of any task."""

    index_name: str | None
    conn_id: str
    columns: Mapping[str, Any] | None
    namespace: str | None
    on_invalid: Literal["fail", "reject"]
    rejects_path: str | PathLike[str] | None
    max_rejects: int
    on_empty: Literal["fail", "skip"]
    compact: bool
    max_batch_vectors: int
    max_batch_bytes: int
    max_in_flight: int
    unparsable_behavior: UnparsableBehavior
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


class VectorizeUpsertDecoratedOperator(DecoratedOperator, VectorizeUpsertOperator):
    """The task of a function that returns or yields records. Use ``@task.vectorize_upsert``.

    :param python_callable: the function; what it yields is read as it goes.
    :param op_args: its arguments. Templated.
    :param op_kwargs: its keyword arguments. Templated.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *VectorizeUpsertOperator.template_fields,
    )
    custom_operator_name = "@task.vectorize_upsert"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        name = getattr(python_callable, "__name__", repr(python_callable))
        for argument in ("vectors", "source"):
            if kwargs.get(argument) is not None:
                raise InvalidArgumentError(
                    f"@task.vectorize_upsert on {name}(): the vectors are what the function returns or yields, so "
                    f"{argument} cannot be given"
                )
        if inspect.iscoroutinefunction(python_callable) or inspect.isasyncgenfunction(python_callable):
            raise InvalidArgumentError(
                f"@task.vectorize_upsert on {name}(): the function must be a plain one, not async"
            )
        self.name = name
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, vectors=(), **kwargs
        )

    def upload(self, context: Context) -> str:
        """Upload what the function gives; when it asks Airflow to skip or to fail, that is what happens."""
        try:
            return super().upload(context)
        except SourceError as error:
            if isinstance(error.__cause__, AirflowSkipException | AirflowFailException):
                raise error.__cause__ from None
            raise

    def given_vectors(self, context: Context) -> Any:
        """Call the function."""
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        vectors = self.python_callable(*self.op_args, **kwargs)
        if vectors is None:
            raise EmptySourceError(f"There is nothing to load: {self.name}() returned None")
        return vectors


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
