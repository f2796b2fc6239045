"""The retry policy, the only one: what is repeated, how often, and after how long.

Transient errors (429, code 40041, 5xx, timeouts, connection errors) are repeated up to ``max_attempts`` times
with exponential back-off and full jitter. A throttled token is blocked for five minutes, so 429 is waited out:
for as long as ``Retry-After`` says, or, when it says nothing, for at least 330 seconds in all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import tenacity

from airflow_provider_vectorize.client.errors import RateLimitError, VectorizeError
from airflow_provider_vectorize.client.limits import RATE_LIMIT_BLOCK_SECONDS
from airflow_provider_vectorize.client.throttle import Gate

BASE_SECONDS = 1.0
CAP_SECONDS = 60.0

log = logging.getLogger(__name__)

_backoff = tenacity.wait_random_exponential(multiplier=BASE_SECONDS, max=CAP_SECONDS)


def retrying(*, max_attempts: int, sleep: Callable[[float], None], gate: Gate) -> tenacity.Retrying:
    """Make the loop that repeats one request.

    :param max_attempts: attempts in all; 429 may take more of them, see the module.
    :param sleep: waits for a number of seconds.
    :param gate: closed for everyone while a throttled request waits.
    """

    def stop(state: tenacity.RetryCallState) -> bool:
        error = _error(state)
        if _status(error) == 429 and getattr(error, "retry_after", None) is None:
            return state.attempt_number >= max_attempts and state.idle_for >= RATE_LIMIT_BLOCK_SECONDS
        return state.attempt_number >= max_attempts

    def before_sleep(state: tenacity.RetryCallState) -> None:
        seconds = state.upcoming_sleep
        error = _error(state)
        if isinstance(error, RateLimitError):
            gate.close_for(seconds)
        log.warning("Attempt %d failed, next in %.1f s: %s", state.attempt_number, seconds, error)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, VectorizeError) and error.transient
        ),
        wait=_wait,
        stop=stop,
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )


def _wait(state: tenacity.RetryCallState) -> float:
    asked = getattr(_error(state), "retry_after", None)
    if asked is not None:
        return min(float(asked), RATE_LIMIT_BLOCK_SECONDS)
    return _backoff(state)


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _status(error: BaseException | None) -> int | None:
    return getattr(error, "status", None)
