"""Values that are known only when a task runs: outputs of other tasks, arguments of a group, callables. Light."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import Context, XComArg

from airflow_provider_vectorize.operators.common import nothing_returned

try:
    from airflow.sdk.bases.decorator import determine_kwargs
except ImportError:  # before Airflow 3.2; the lowest common.compat that is supported has no name for both
    from airflow.utils.operator_helpers import determine_kwargs  # type: ignore[attr-defined]  # of Airflow 3.3

__all__ = ["determine_kwargs", "draw_dependencies", "is_resolvable", "resolve_vectors", "resolved"]


def is_resolvable(value: object) -> bool:
    """Tell whether Airflow resolves it: an ``XComArg``, a mapped task group's argument, ``dag.param``."""
    return hasattr(value, "resolve") and hasattr(value, "iter_references")


def draw_dependencies(task: Any, value: object) -> None:
    """Put a task behind those whose output it is given, alone or in a list."""
    for each in value if isinstance(value, list | tuple) else (value,):
        if is_resolvable(each):
            XComArg.apply_upstream_relationship(task, each)


def resolved(value: Any, context: Context, name: str, what: str) -> Any:
    """Give what was given, or what it resolves to.

    :param name: of the argument.
    :param what: is done with it.
    :raises EmptySourceError: it resolves to None, which is not the same as an argument that was not given.
    """
    if not is_resolvable(value):
        return value
    found = value.resolve(context)
    if found is None:
        raise nothing_returned(name, what)
    return found


def resolve_vectors(value: Any, context: Context) -> Any:
    """Give the vectors of an upload: what was given, what resolves, alone or in a list, or what a callable returns.

    What is resolved is read lazily, one instance of a mapped task at a time, and lists in it are flattened by one
    level.

    :raises EmptySourceError: one of them is None.
    """
    if callable(value) and not is_resolvable(value):
        value = value(**determine_kwargs(value, (), context))
        return _refuse_none(value)
    if is_resolvable(value):
        return _records(_refuse_none(value.resolve(context)))
    if isinstance(value, list | tuple) and any(map(is_resolvable, value)):
        return _of_each(value, context)
    return value


def _of_each(values: Iterable[Any], context: Context) -> Iterator[Any]:
    for each in values:
        if is_resolvable(each):
            yield from _flattened([_records(_refuse_none(each.resolve(context)))])
        else:
            yield each


def _records(value: Any) -> Any:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable) or _is_table(value):
        return value
    return iter((value,)) if isinstance(value, Mapping) else _flattened(value)


def _flattened(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, str | bytes):
            yield from (item.encode() if isinstance(item, str) else item).splitlines()
        elif isinstance(item, Iterable) and not isinstance(item, Mapping) and not _is_table(item):
            yield from item
        else:
            yield item


def _is_table(value: object) -> bool:
    # Iterated, a frame gives the names of its columns.
    return any(hasattr(value, each) for each in ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__"))


def _refuse_none(value: Any) -> Any:
    if value is None:
        raise nothing_returned("vectors")
    return value
