"""The retry policy, the only one: what is repeated, how often, and after how long.

Transient errors (429, code 40041, 5xx, 408, timeouts, connection errors) are repeated up to ``max_attempts`` times
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

    :param max_attempts: attempts in all; 1 never repeats; above that, 429 may take more, see the module.
    :param sleep: waits for a number of seconds.
    :param gate: closed for everyone while a throttled request waits.
    """

    def wait(state: tenacity.RetryCallState) -> float:
        error = _error(state)
        if not isinstance(error, RateLimitError):
            return _backoff(state)
        asked = error.retry_after
        seconds = _backoff(state) if asked is None else min(asked, RATE_LIMIT_BLOCK_SECONDS)
        # Also when this was the last attempt: the others had better wait all the same.
        gate.close_for(seconds)
        return seconds

    def stop(state: tenacity.RetryCallState) -> bool:
        error = _error(state)
        waits_out = isinstance(error, RateLimitError) and error.status == 429 and error.retry_after is None
        if waits_out and max_attempts > 1:
            return state.attempt_number >= max_attempts and state.idle_for >= RATE_LIMIT_BLOCK_SECONDS
        return state.attempt_number >= max_attempts

    def before_sleep(state: tenacity.RetryCallState) -> None:
        log.warning(
            "Attempt %d failed, next in %.1f s: %s", state.attempt_number, state.upcoming_sleep, _error(state)
        )

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, VectorizeError) and error.transient
        ),
        wait=wait,
        stop=stop,
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
