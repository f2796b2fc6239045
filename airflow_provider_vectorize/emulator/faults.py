"""Faults on order: which request fails next, and how."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from airflow_provider_vectorize.emulator.routes import OPERATIONS

Kind = Literal[
    "status", "reset", "hang", "accept-then-reset", "drip", "slow-body", "drop", "corrupt"
]  # fmt: skip
_ANY: Final = "*"
_MAX_SECONDS: Final = 3600
_MAX_SCOPE: Final = 200
#: What kinds cannot do without.
_NEEDED: Final = {"drip": "seconds", "slow-body": "bytes_per_second", "drop": "share"}
#: Whose requests kinds can be about, where that is not any.
_WRITES: Final = {"drop": ("insert", "upsert", "delete_by_ids"), "corrupt": ("insert", "upsert")}
#: The header of a request that names its scope.
SCOPE_HEADER: Final = "X-Emulator-Scope"


@dataclass(frozen=True)
class Fault:
    """One order.

    :param kind: ``status``: answer with an error. ``reset``: reset the connection. ``hang``: answer nothing
        for ``seconds``, then close. With these three a write is not logged. ``accept-then-reset``: log the
        write, then reset the connection instead of answering. ``drip``: answer byte by byte, ``seconds`` before
        each. ``slow-body``: let the bodies of request and answer pass at ``bytes_per_second``. ``drop``: accept a
        write, and lose a ``share`` of what it brings or deletes. ``corrupt``: accept an upload, and store one value
        of one vector otherwise. A request that is refused for another reason uses up no order.
    :param operation: whose requests fail; ``*`` for any.
    :param times: how many requests fail.
    :param status: the HTTP status of ``status``; 200 makes an answer that says ``"success": false``.
    :param code: the code in the error envelope of ``status``; by default one that the API does not use.
    :param retry_after: the ``Retry-After`` header of ``status``, whole seconds; None for no such header.
    :param seconds: how long ``hang`` hangs; the pause of ``drip``.
    :param share: of ``drop``: above 0, at most 1; the number is rounded up.
    :param bytes_per_second: of ``slow-body``.
    :param scope: the requests that fail have this value in the header :data:`SCOPE_HEADER`; None for any.
    """

    kind: Kind
    operation: str = _ANY
    times: int = 1
    status: int = 503
    code: int = 49999
    retry_after: int | None = None
    seconds: float = 60.0
    share: float | None = None
    bytes_per_second: int | None = None
    scope: str | None = None

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
        kind, scope = order["kind"], order.get("scope", "any")
        if kind in _WRITES and order.get("operation", _ANY) not in (*_WRITES[kind], _ANY):
            raise ValueError(f"operation of {kind} must be * or one of {', '.join(_WRITES[kind])}")
        if kind in _NEEDED and _NEEDED[kind] not in order:
            raise ValueError(f"{kind} needs {_NEEDED[kind]}")
        if type(scope) is not str or not 1 <= len(scope) <= _MAX_SCOPE or not scope.isprintable():
            raise ValueError(f"scope must be a printable text of 1 to {_MAX_SCOPE} characters")
        bounds = {
            "times": (1, 10**9), "status": (200, 599), "code": (1000, 10**9), "retry_after": (0, 10**9),
            "seconds": (0, _MAX_SECONDS), "share": (1e-9, 1), "bytes_per_second": (1, 10**9),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            if name not in order:
                continue
            value = order[name]
            whole = name not in ("seconds", "share")
            if type(value) not in ((int,) if whole else (int, float)) or not low <= value <= high:
                raise ValueError(
                    f"{name} must be {'an integer' if whole else 'a number'} from {low} to {high}"
                )
        return cls(**order)

    def fits(self, operation: str, scope: str | None) -> bool:
        """Tell whether it is for a request."""
        return (
            self.operation in (operation, _ANY)
            and operation in _WRITES.get(self.kind, (operation,))
            and self.scope in (None, scope)
        )


class Faults:
    """The orders that are left, safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[Fault] = []

    def add(self, orders: Iterable[Fault]) -> None:
        """Add orders behind those that are left."""
        with self._lock:
            self._left.extend(orders)

    def take(self, operation: str, scope: str | None = None) -> Fault | None:
        """Use up one time of the first order that is for this operation and scope."""
        with self._lock:
            for place, fault in enumerate(self._left):
                if fault.fits(operation, scope):
                    self._left[place : place + 1] = (
                        [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                    )
                    return fault
        return None

    def give_back(self, fault: Fault) -> None:
        """Undo a :meth:`take` that came to nothing."""
        with self._lock:
            self._left.insert(0, replace(fault, times=1))

    def left(self) -> list[dict[str, Any]]:
        """Give the orders that are left, with the times that are left; without what is None."""
        with self._lock:
            return [
                {name: value for name, value in asdict(fault).items() if value is not None}
                for fault in self._left
            ]

    def clear(self) -> None:
        """Drop all orders."""
        with self._lock:
            self._left.clear()
