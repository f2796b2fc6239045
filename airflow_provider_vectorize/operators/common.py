"""What operators, sensors and decorators share. Light: a DAG file imports it at every parse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    conf,
    get_current_context,
)

from airflow_provider_vectorize.client import limits
from airflow_provider_vectorize.client.errors import EmptySourceError, InvalidArgumentError, VectorizeError
from airflow_provider_vectorize.wording import of_a_failure

DEFAULT_DEFERRABLE = conf.getboolean("operators", "default_deferrable", fallback=False)


@contextmanager
def fail_fast() -> Iterator[None]:
    """Turn errors that no retry can help into Airflow's, so that no retry is spent on them.

    A task with a retry policy of its own is left the error itself: Airflow asks no policy about its own.

    :raises AirflowFailException: with the text of the error, and without its traceback: the text says it all.
    """
    try:
        yield
    except VectorizeError as error:
        text = of_a_failure(str(error))
        if error.permanent and not _has_retry_policy():
            raise AirflowFailException(text) from None
        error.args = (text, *error.args[1:])
        # What a library has raised is in the text already; of the caller's own code the traceback is wanted.
        raise error from (error.__cause__ if error.from_caller else None)


def _has_retry_policy() -> bool:
    try:
        task = get_current_context()["task"]
    except (AirflowException, RuntimeError):  # outside a task
        return False
    return getattr(task, "retry_policy", None) is not None


def nothing_returned(argument: str, what: str = "load") -> EmptySourceError:
    """Say why an argument that was given is None once it is resolved. ``on_empty`` decides what that means."""
    error = EmptySourceError(
        f"There is nothing to {what}: {argument} is None, since the upstream task returned nothing"
    )
    error.permanent = True  # another try would be given the same
    return error


def seconds(task_id: str, name: str, value: float | timedelta, *, least: float = 0.0) -> float:
    """Read a duration that a user gives.

    :param task_id: of the task, for the message.
    :param name: of the parameter.
    :param value: seconds, or a timedelta; above 0.
    :param least: seconds that it must be at least.
    :raises InvalidArgumentError: naming all of these.
    """
    number: Any = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < float("inf"):
        raise InvalidArgumentError(
            f"task {task_id!r}: {name} must be a timedelta or a number of seconds above 0, got {value!r}"
        )
    if number < least:
        raise InvalidArgumentError(f"task {task_id!r}: {name} must be at least {least:g} s, got {value!r}")
    return float(number)


def interval(task_id: str, name: str, value: float | timedelta) -> float:
    """Read the seconds between two looks, which the API's budget does not allow to be less than a second."""
    return seconds(task_id, name, value, least=limits.MIN_POLL_SECONDS)


@contextmanager
def naming(task_id: str) -> Iterator[None]:
    """Put the task's id before what an argument is refused for."""
    try:
        yield
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"task {task_id!r}: {error}") from None


def one_of(task_id: str, name: str, value: object, *allowed: str) -> None:
    """Refuse a value that is none of those allowed.

    :raises InvalidArgumentError: naming the parameter and all of them.
    """
    if value not in allowed:
        raise InvalidArgumentError(f"task {task_id!r}: {name} must be {' or '.join(allowed)}, got {value!r}")


def refuse_without_effect(task_id: str, why: str, **options: bool) -> None:
    """Refuse options that would do nothing.

    :param why: what they need.
    :param options: by name, whether it was given.
    :raises InvalidArgumentError: naming those that were.
    """
    given = [name for name, is_given in options.items() if is_given]
    if given:
        raise InvalidArgumentError(f"task {task_id!r}: {' and '.join(given)} without effect: {why}")


def given(kwargs: dict[str, Any], name: str, value: object, default: object) -> bool:
    """Tell whether an option was given to the task itself, and not by ``default_args``, which many tasks share.

    :param kwargs: what the constructor has passed on, ``default_args`` among it.
    """
    return value != default and (kwargs.get("default_args") or {}).get(name, default) != value
