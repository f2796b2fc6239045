"""The control surface under ``/_emulator``: for people and tests, not part of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from airflow_provider_vectorize.emulator import validation
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.faults import Fault, Faults
from airflow_provider_vectorize.emulator.records import Records, Row
from airflow_provider_vectorize.emulator.schedule import Visibility
from airflow_provider_vectorize.emulator.settings import RateLimit
from airflow_provider_vectorize.emulator.state import State
from airflow_provider_vectorize.emulator.throttle import Throttle

PREFIX: Final = "/_emulator/"
_MAX_FOREIGN_WRITES: Final = 100_000
_SHOWN_ROWS: Final = 50


class Control:
    """Everything that can be asked of, or ordered from, a running emulator.

    :param state: the indexes.
    :param records: the request log.
    :param faults: the faults on order.
    :param throttle: the rate limit.
    :param revoked: the tokens that are let in no more.
    """

    def __init__(
        self, state: State, records: Records, faults: Faults, throttle: Throttle, revoked: set[str]
    ) -> None:
        self._state = state
        self._records = records
        self._faults = faults
        self._throttle = throttle
        self._revoked = revoked

    def serve(self, method: str, path: str, body: bytes) -> Any:
        """Answer a control request.

        :param path: below :data:`PREFIX`.
        :returns: what to answer as JSON.
        """
        parts = path.split("/")
        if parts[0] == "indexes" and len(parts) == 3 and (method, parts[2]) == ("POST", "foreign"):
            order = validation.json_object(body)
            return _checked(lambda: {"indexes": self.foreign(parts[1], **order)})
        handler = _HANDLERS.get((method, path))
        if handler is None:
            raise ApiError("no_route")
        return _checked(lambda: handler(self, body))

    def health(self) -> dict[str, str]:
        """Tell that the emulator answers."""
        return {"status": "ok"}

    def stats(self) -> dict[str, dict[str, int]]:
        """Give requests, vectors and bytes of every operation since the start."""
        return self._records.stats()

    def log(self) -> list[Row]:
        """Give a row for each request to the API, oldest first."""
        return self._records.rows()

    def overview(self) -> dict[str, Any]:
        """Give what a person wants to see at one look, the newest first."""
        recent = self._state.recent()
        writes = sorted(
            (write for _, _, writes in recent for write in writes), key=lambda write: -write.logged_at
        )
        rows = self._records.rows()[: -_SHOWN_ROWS - 1 : -1]
        return {
            "visibility": asdict(self._state.visibility),
            "indexes": [
                {
                    "account": index.account, "name": index.name, "dimensions": index.dimensions,
                    "metric": index.metric, "vectors": index.count, "waiting": waiting, "watermark": index.watermark,
                }
                for index, waiting, _ in recent
            ],
            "writes": [write._asdict() for write in writes[:_SHOWN_ROWS]],
            "requests": [{name: value for name, value in row.items() if name != "headers"} for row in rows],
            "faults": self.faults(),
        }  # fmt: skip

    def clear_log(self) -> None:
        """Empty the log."""
        self._records.clear()

    def set_visibility(self, mode: str, value: float = 0) -> None:
        """Choose when writes become visible, see :class:`.schedule.Visibility`."""
        self._state.set_visibility(Visibility(mode, value))  # type: ignore[arg-type]  # checked by Visibility

    def apply(self, index: str | None = None) -> list[dict[str, Any]]:
        """Apply the next batch of an index, or of every index.

        :returns: for each batch the index, the mutation id that ``info`` now shows, writes and vectors.
        """
        return [asdict(batch) for batch in self._state.apply(index)]

    def add_faults(self, orders: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Order faults, see :class:`.faults.Fault`.

        :returns: the orders that are left, these included.
        """
        self._faults.add([Fault.from_json(order) for order in orders])
        return self.faults()

    def faults(self) -> list[dict[str, Any]]:
        """Give the orders that are left."""
        return self._faults.left()

    def clear_faults(self) -> None:
        """Drop all orders."""
        self._faults.clear()

    def foreign(self, index: str, *, writes: int = 1, every: float = 0) -> int:
        """Let somebody else write to the indexes of that name: ``writes`` vectors, one ``every`` so many seconds.

        :returns: how many indexes have that name; none is an error.
        """
        if type(writes) is not int or not 1 <= writes <= _MAX_FOREIGN_WRITES:
            raise ValueError(f"writes must be an integer from 1 to {_MAX_FOREIGN_WRITES}")
        if type(every) not in (int, float) or not 0 <= every <= 86_400:
            raise ValueError("every must be a number of seconds from 0 to 86400")
        found = self._state.add_foreign(index, writes, every)
        if not found:
            raise ApiError("index_not_found", name=index)
        return found

    def set_rate_limit(self, limit: RateLimit | None) -> None:
        """Choose the rate limit; None for none."""
        self._throttle.set(limit)

    def revoke(self, token: str) -> None:
        """Let a token in no more."""
        if type(token) is not str or not token:
            raise ValueError("token must be a string that is not empty")
        self._revoked.add(token)


def _visibility(control: Control, body: bytes) -> dict[str, Any]:
    order = validation.json_object(body)
    control.set_visibility(**order)
    return order


def _apply(control: Control, body: bytes) -> list[dict[str, Any]]:
    order = validation.json_object(body or b"{}")
    return control.apply(**order)


def _faults(control: Control, body: bytes) -> list[dict[str, Any]]:
    return control.add_faults(validation.json_list(body))


def _rate_limit(control: Control, body: bytes) -> dict[str, Any]:
    order = validation.json_object(body or b"{}")
    control.set_rate_limit(RateLimit(**order) if order else None)
    return order


def _revoke(control: Control, body: bytes) -> dict[str, Any]:
    control.revoke(**validation.json_object(body))
    return {}


def _clear_log(control: Control, _body: bytes) -> list[Row]:
    control.clear_log()
    return []


def _clear_faults(control: Control, _body: bytes) -> list[Row]:
    control.clear_faults()
    return []


_HANDLERS: Final[Mapping[tuple[str, str], Callable[[Control, bytes], Any]]] = {
    ("GET", "health"): lambda control, _body: control.health(),
    ("GET", "overview"): lambda control, _body: control.overview(),
    ("GET", "stats"): lambda control, _body: control.stats(),
    ("GET", "log"): lambda control, _body: control.log(),
    ("DELETE", "log"): _clear_log,
    ("PUT", "visibility"): _visibility,
    ("POST", "apply"): _apply,
    ("GET", "faults"): lambda control, _body: control.faults(),
    ("POST", "faults"): _faults,
    ("DELETE", "faults"): _clear_faults,
    ("PUT", "rate_limit"): _rate_limit,
    ("POST", "revoke"): _revoke,
}


def _checked(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (TypeError, ValueError) as error:
        # TypeError: a name that the order may not have.
        raise ApiError("bad_request", reason=str(error)) from None
