"""When to try a task again: a retry policy for Airflow 3.3 and later. Earlier ones cannot import this module."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError:
    from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

    raise AirflowOptionalProviderFeatureException(
        "airflow_provider_vectorize.policies needs Airflow 3.3 or later, which has retry policies"
    ) from None

from airflow_provider_vectorize.client.errors import AuthenticationError, VectorizeApiError, VectorizeError
from airflow_provider_vectorize.client.limits import RATE_LIMIT_BLOCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Airflow 3.3 takes a delay of 0 for none, and waits `retry_delay`.
AT_ONCE = timedelta(seconds=1)


class VectorizeRetryPolicy(RetryPolicy):
    """Try again what may pass, when the server says so, and nothing else.

    For any task that uses the provider: ``VectorizeUpsertOperator(..., retries=5,
    retry_policy=VectorizeRetryPolicy())``, or ``@task(retries=5, retry_policy=VectorizeRetryPolicy())``.

    - The API named a delay (``Retry-After``): the next try begins then, and not after ``retry_delay``, but
      within 330 s.
    - A permanent error (see :attr:`~airflow_provider_vectorize.client.errors.VectorizeError.permanent`) fails the
      task, and no try is spent on it.
    - But for a refused token: if the connection holds another one by now, the task is tried again at once.
    - Anything else is left to the task's ``retries`` and ``retry_delay``.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002  # Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Mapping[str, Any] | None = None,
    ) -> RetryDecision:
        """Decide about a task that failed."""
        if not isinstance(exception, VectorizeError):
            return RetryDecision.default()
        if isinstance(exception, AuthenticationError) and _was_replaced(context):
            return RetryDecision.retry(AT_ONCE, reason="the connection has been changed since this try began")
        if exception.permanent:
            return RetryDecision.fail(reason=f"{type(exception).__name__} is permanent")
        if isinstance(exception, VectorizeApiError) and exception.retry_after is not None:
            seconds = min(exception.retry_after, RATE_LIMIT_BLOCK_SECONDS)
            return RetryDecision.retry(
                timedelta(seconds=seconds), reason=f"the API asks to wait {seconds:g} s"
            )
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Give what is stored: it has no settings."""
        return {"__type": f"{type(self).__module__}.{type(self).__qualname__}"}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> VectorizeRetryPolicy:  # noqa: ARG003  # Airflow's signature
        """Make the policy again."""
        return cls()


def _was_replaced(context: Mapping[str, Any] | None) -> bool:
    hook = getattr((context or {}).get("task"), "hook", None)
    if hook is None:
        return False
    before = hook.settings
    return bool(type(hook)(hook.conn_id).settings != before)
