"""The HTTP stack: one call in, as many requests as it takes, one checked answer back.

The retry policy, the only one, is here. Failures that pass (5xx, 408, timeouts, connection errors) are repeated up to
``max_attempts`` times, with exponential back-off and full jitter. A throttled request (429, code 40041) is repeated
until the API has refused everything for :data:`~.limits.RATE_LIMIT_BLOCK_SECONDS`; all of its waiting is done by a
:class:`~.throttle.Gate`. Refused credentials are read anew once.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
import tenacity

from airflow_provider_vectorize import __version__
from airflow_provider_vectorize.client.address import is_loopback
from airflow_provider_vectorize.client.answers import Answer, parse_answer
from airflow_provider_vectorize.client.auth import Credentials
from airflow_provider_vectorize.client.errors import (
    AuthenticationError,
    RateLimitError,
    ServerError,
    TransportError,
    VectorizeApiError,
    printable,
)
from airflow_provider_vectorize.client.throttle import BASE_SECONDS, CAP_SECONDS, Gate, shared_gate
from airflow_provider_vectorize.client.types import Body
from airflow_provider_vectorize.client.wire import CONNECT_TIMEOUT, Line, current_line
from airflow_provider_vectorize.ending import Ending, State
from airflow_provider_vectorize.wording import in_short_lines

log = logging.getLogger(__name__)

#: One exchange ends after so many times the timeout, and the time that its body takes at this speed.
WHOLE_TIMEOUTS = 4
SLOWEST_BYTES_PER_SECOND = 16 * 1024
#: Far above any answer of the API; it bounds what a wrong address can make us hold.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_TEXT_CHARS = 1_000
#: Code of the API for too many writes to one index.
WRITE_PRESSURE = 40041
USER_AGENT = f"airflow-provider-vectorize/{__version__}"


@dataclass(frozen=True, kw_only=True)
class Transport:
    """Send requests to one account, with authentication, retries and the checks that every answer has to pass.

    :param root: the address of the API: a normalized one, ending in ``/client/v4``.
    :param account_id: part of every path.
    :param auth: the credentials.
    :param timeout: see :class:`~.client.VectorizeClient`.
    :param max_attempts: requests for one call, throttled ones aside; 1 never repeats.
    :param session: the requests session to use.
    :param sleep: waits for a number of seconds; None: a wait that ends when the client is told to stop.
    :param clock: tells seconds, monotonic.
    :param ending: ends waits and cuts requests.
    :param deadline: by the clock: every call has ended by then.
    """

    root: str
    account_id: str
    auth: Credentials
    timeout: float
    max_attempts: int
    session: requests.Session
    sleep: Callable[[float], None] | None = None
    clock: Callable[[], float] = time.monotonic
    ending: Ending = field(default_factory=Ending)
    deadline: float = float("inf")
    gates: dict[str, Gate] = field(default_factory=dict, repr=False)

    def within(self, ending: Ending | None, seconds: float | None, max_attempts: int | None) -> Transport:
        """Give a transport with narrower bounds, which shares all else."""
        return replace(
            self,
            ending=self.ending if ending is None else Ending(self.ending, ending),
            deadline=self.deadline if seconds is None else min(self.deadline, self.clock() + seconds),
            max_attempts=max_attempts or self.max_attempts,
        )

    def call(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        place: str = "",
        writes_to: str = "",
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        ndjson: Body | None = None,
    ) -> Answer:
        """Make one call: as many requests as it takes.

        :param operation: name of the call, such as ``upsert``.
        :param method: HTTP method.
        :param path: below the account, its parts quoted.
        :param place: what the call is about, for messages, such as ``index 'docs'``.
        :param writes_to: the index whose write pressure the call adds to.
        :param params: query parameters.
        :param json: body, sent as JSON.
        :param ndjson: body, sent as it is.
        :raises VectorizeApiError: the API said no. ``after_lost_answer`` is set when an earlier attempt may have
            been carried out all the same.
        :raises TransportError: no answer arrived.
        """
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        body: Any = None
        if ndjson is not None:
            headers["Content-Type"] = "application/x-ndjson"
            body = ndjson
        elif json is not None:
            headers["Content-Type"] = "application/json"
            body = orjson.dumps(json, option=orjson.OPT_SERIALIZE_NUMPY)
        request = requests.Request(
            method,
            f"{self.root}{path}",
            headers=headers,
            params=dict(params or {}),
            data=body,
            auth=self.auth,
        )
        name = f"{operation} ({place})" if place else operation
        began = self.clock()
        attempts, answer_lost, renewed = 0, False, False

        def until_not_throttled() -> Answer:
            nonlocal attempts, answer_lost, renewed
            while True:
                with self._slots(name, writes_to, began) as (pressure, budget):
                    attempts += 1
                    used = self.auth.version
                    try:
                        answer = self._exchange(name, operation, request, attempts)
                    except TransportError:
                        answer_lost = True
                        raise
                    if isinstance(answer, RateLimitError):
                        gate = pressure if answer.code == WRITE_PRESSURE else budget
                        seconds = gate.refuse(answer.retry_after)
                        if self.max_attempts > 1 and not gate.exhausted(began):
                            what = f"Throttled, next in {seconds:.1f} s: {answer}"
                            log.warning("%s", in_short_lines(what))
                            continue
                    else:
                        pressure.passed()
                        budget.passed()
                if isinstance(answer, Answer):
                    return answer
                if isinstance(answer, AuthenticationError) and not renewed and self.auth.renewed(used):
                    renewed = True
                    log.info("%s: the credentials were refused, and there are others now", name)
                    continue
                answer.after_lost_answer = answer_lost
                answer_lost = answer_lost or isinstance(answer, ServerError)
                raise answer

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: (
                    isinstance(error, ServerError) or (isinstance(error, TransportError) and error.transient)
                )
            ),
            wait=tenacity.wait_random_exponential(multiplier=BASE_SECONDS, max=CAP_SECONDS),
            stop=tenacity.stop_after_attempt(self.max_attempts),
            sleep=lambda seconds: self._pause(name, seconds),
            before_sleep=_announce,
            reraise=True,
        )(until_not_throttled)

    @contextmanager
    def _slots(self, name: str, writes_to: str, began: float) -> Iterator[tuple[Gate, Gate]]:
        sleep, check = partial(self._pause, name), partial(self._check, name)
        pressure, budget = self._gate(writes_to), self._gate()
        with ExitStack() as slots:
            if writes_to:
                slots.enter_context(pressure.slot(name, began, sleep, check))
            slots.enter_context(budget.slot(name, began, sleep, check))
            yield pressure, budget

    def _gate(self, index_name: str = "") -> Gate:
        """Give the gate of the token, or that of the writes to an index."""
        if index_name not in self.gates:
            secret = hashlib.sha256(self.auth.secret.encode()).hexdigest()
            self.gates[index_name] = shared_gate(
                self.root, self.account_id, secret, index_name, clock=self.clock
            )
        return self.gates[index_name]

    def _check(self, name: str) -> None:
        """Raise if nothing may be sent any more.

        :param name: of the call.
        :raises TransportError: saying why.
        """
        if self.ending.state >= State.STOPPING:
            raise TransportError(f"{name} was not sent: the client was told to stop", transient=False)
        if self.clock() >= self.deadline:
            raise TransportError(f"{name} was not sent: its deadline has passed", transient=False)

    def _pause(self, name: str, seconds: float) -> None:
        """Wait between two attempts.

        :raises TransportError: there will be no further attempt.
        """
        if self.clock() + seconds > self.deadline:
            raise TransportError(
                f"{name} was not sent again: it would have to wait for {seconds:.0f} s, beyond its deadline",
                transient=False,
            )
        (self.sleep or self.ending.sleep)(seconds)
        self._check(name)

    def _exchange(
        self, name: str, operation: str, request: requests.Request, attempts: int
    ) -> Answer | VectorizeApiError:
        """Make one request.

        :raises TransportError: no answer arrived.
        """
        left = self.deadline - self.clock()  # before the check, after which it is more than 0
        self._check(name)
        line = Line(
            self.timeout,
            min(left, WHOLE_TIMEOUTS * self.timeout + len(request.data or b"") / SLOWEST_BYTES_PER_SECOND),
        )
        try:
            with self.ending.cutting(line.cut), _carried_by(line):
                prepared = self.session.prepare_request(request)
                # Plain http to this machine carries the token: no proxy of the environment may get it.
                local = is_loopback(urlsplit(self.root).hostname or "")
                proxies: Any = dict.fromkeys(("http", "https", "all")) if local else {}
                settings = self.session.merge_environment_settings(
                    prepared.url, proxies, True, self.session.verify, None
                )
                timeout = (min(CONNECT_TIMEOUT, self.timeout, left), min(self.timeout, left))
                with self.session.send(
                    prepared, timeout=timeout, allow_redirects=False, **settings
                ) as response:
                    content = bytearray()
                    for part in response.iter_content(1 << 16):
                        content += part
                        if len(content) > MAX_ANSWER_BYTES:
                            raise TransportError(
                                f"{name} failed: the answer is longer than {MAX_ANSWER_BYTES} bytes",
                                transient=False,
                            )
        except requests.RequestException as error:
            # None of it goes on with the error: its frames hold the headers.
            why = self._clean(f"{type(error).__name__}: {error}")
        else:
            answer = parse_answer(
                name,
                operation,
                response.status_code,
                response.headers,
                bytes(content),
                attempts=attempts,
                clean=self._clean,
            )
            for message in answer.messages if isinstance(answer, Answer) else ():
                log.info("%s: the API remarks: %s", name, message)
            return answer
        if self.ending.state is State.OVER:
            raise TransportError(f"{name} was cut: the client was told to stop", transient=False)
        # A certificate that is wrong stays wrong.
        raise TransportError(f"{name} got no answer: {why}", transient="CERTIFICATE_VERIFY_FAILED" not in why)

    def _clean(self, value: Any) -> str:
        """Make text of what comes from outside and may end up in logs: bounded, and without the secret."""
        text = "" if value is None else printable(self.auth.mask(str(value)))
        return text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + " ..."


@contextmanager
def _carried_by(line: Line) -> Iterator[None]:
    token = current_line.set(line)
    try:
        yield
    finally:
        current_line.reset(token)


def _announce(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    what = f"Attempt {state.attempt_number} failed, next in {state.upcoming_sleep:.1f} s: {error}"
    log.warning("%s", in_short_lines(what))
