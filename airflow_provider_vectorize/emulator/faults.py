"""Faults on order: which request fails next, and how."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from airflow_provider_vectorize.emulator.routes import OPERATIONS

Kind = Literal["status", "reset", "hang", "accept-then-reset"]
_ANY: Final = "*"
_MAX_SECONDS: Final = 3600


@dataclass(frozen=True)
class Fault:
    """One order.

    :param kind: ``status``: answer with an error. ``reset``: reset the connection. ``hang``: answer nothing
        for ``seconds``, then close. With these three a write is not logged. ``accept-then-reset``: log the
        write, then reset the connection instead of answering.
    :param operation: whose requests fail; ``*`` for any.
    :param times: how many requests fail.
    :param status: the HTTP status of ``status``; 200 makes an answer that says ``"success": false``.
    :param code: the code in the error envelope of ``status``; by default one that the API does not use.
    :param retry_after: the ``Retry-After`` header of ``status``, whole seconds; None for no such header.
    :param seconds: how long ``hang`` hangs.
    """

    kind: Kind
    operation: str = _ANY
    times: int = 1
    status: int = 503
    code: int = 49999
    retry_after: int | None = None
    seconds: float = 60.0

    @classmethod
    def from_json(cls, order: object) -> Fault:
        """Check an order.

        :raises ValueError: saying what is wrong with it.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(order, Mapping) or not order.keys() <= names:
            raise ValueError(f"a fault is an object with some of {', '.join(sorted(names))}")
        order = {name: value for name, value in order.items() if value is not None}
        if order.get("kind") not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}")
        if order.get("operation", _ANY) not in (*OPERATIONS, _ANY):
            raise ValueError(f"operation must be * or one of {', '.join(OPERATIONS)}")
        bounds = {
            "times": (1, 10**9), "status": (200, 599), "code": (1000, 10**9), "retry_after": (0, 10**9),
            "seconds": (0, _MAX_SECONDS),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            value = order.get(name, low)
            whole = name != "seconds"
            if type(value) not in ((int,) if whole else (int, float)) or not low <= value <= high:
                raise ValueError(
                    f"{name} must be {'an integer' if whole else 'a number'} from {low} to {high}"
                )
        return cls(**order)


class Faults:
    """The orders that are left, safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[Fault] = []

    def add(self, orders: Iterable[Fault]) -> None:
        """Add orders behind those that are left."""
        with self._lock:
            self._left.extend(orders)

    def take(self, operation: str) -> Fault | None:
        """Use up one time of the first order that is for this operation."""
        with self._lock:
            for place, fault in enumerate(self._left):
                if fault.operation in (operation, _ANY):
                    self._left[place : place + 1] = (
                        [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                    )
                    return fault
        return None

    def left(self) -> list[dict[str, Any]]:
        """Give the orders that are left, with the times that are left."""
        with self._lock:
            return [asdict(fault) for fault in self._left]

    def clear(self) -> None:
        """Drop all orders."""
        with self._lock:
            self._left.clear()
