"""How a load is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.limits import (
    MAX_DELETE_IDS,
    MAX_NAMESPACE_BYTES,
    MAX_UPLOAD_BYTES,
    MAX_UPLOAD_VECTORS,
)
from airflow_provider_vectorize.client.types import UnparsableBehavior

#: A third of what one upload may hold, so that four of them and the next fit a small worker.
DEFAULT_BATCH_BYTES = 32 * 1024 * 1024
#: Ids that one delete may delete, unless it is told otherwise.
DEFAULT_MAX_DELETES = 100_000
#: Beyond that memory grows and the API's limit on requests is met sooner, but nothing gets faster.
MAX_IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a load is done.

    :param operation: ``upsert`` replaces vectors whose id exists; ``insert`` silently leaves them as they are;
        ``delete`` takes ids for records, at most 100 a request.
    :param namespace: for records that have none, at most 64 bytes (limits page). A record with another one is
        invalid.
    :param on_invalid: ``fail`` stops at the first invalid record; ``reject`` goes on without it.
    :param max_rejects: with ``reject``: the load fails at the end when more records were refused.
    :param drop_nulls: leave nulls in metadata out, which Vectorize does not take; otherwise such a record is invalid.
    :param compact: send values as the shortest text of the same float32, which is what Vectorize stores; otherwise
        lines pass as they are.
    :param max_batch_vectors: vectors in a request, 1 to 5,000 (limits page).
    :param max_batch_bytes: bytes in a request, 1 to 100,000,000 (limits page); 32 MiB by default.
    :param max_in_flight: requests under way at a time, 1 to 64.
    :param flush_seconds: a request goes out, however small, so long after its first record was read, or after the one
        before it could go, if that was later; even while the next record is waited for.
    :param unparsable_behavior: ``discard`` makes the API drop bad lines instead of refusing the request; it does not
        say how many, so that the number of accepted records is unknown.
    :raises InvalidArgumentError: naming the option and its limits.
    """

    operation: Literal["upsert", "insert", "delete"] = "upsert"
    namespace: str | None = None
    on_invalid: Literal["fail", "reject"] = "fail"
    max_rejects: int = 0
    drop_nulls: bool = False
    compact: bool = True
    max_batch_vectors: int = MAX_UPLOAD_VECTORS
    max_batch_bytes: int = DEFAULT_BATCH_BYTES
    max_in_flight: int = 4
    flush_seconds: float = 30.0
    unparsable_behavior: UnparsableBehavior = "error"

    def __post_init__(self) -> None:
        self._one_of("operation", "upsert", "insert", "delete")
        self._one_of("on_invalid", "fail", "reject")
        self._one_of("unparsable_behavior", "error", "discard")
        self._one_of("compact", True, False)
        self._one_of("drop_nulls", True, False)
        self._within("max_rejects", 0, None)
        self._within(
            "max_batch_vectors", 1, MAX_DELETE_IDS if self.operation == "delete" else MAX_UPLOAD_VECTORS
        )
        self._within("max_batch_bytes", 1, MAX_UPLOAD_BYTES)
        self._within("max_in_flight", 1, MAX_IN_FLIGHT)
        if not _is_positive(self.flush_seconds):
            raise InvalidArgumentError(
                f"flush_seconds must be a number of seconds above 0, got {self.flush_seconds!r}"
            )
        if self.namespace is not None:
            self._check_namespace(self.namespace)

    def identity(self) -> dict[str, Any]:
        """Those that decide which records are sent, and as what: a load that goes on must have the same."""
        return {
            "operation": self.operation,
            "namespace": self.namespace,
            "on_invalid": self.on_invalid,
            "drop_nulls": self.drop_nulls,
            "compact": self.compact,
            "unparsable_behavior": self.unparsable_behavior,
        }

    def _one_of(self, name: str, *allowed: object) -> None:
        if (value := getattr(self, name)) not in allowed:
            raise InvalidArgumentError(
                f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}"
            )

    def _within(self, name: str, least: int, most: int | None) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidArgumentError(f"{name} must be a whole number, got {value!r}")
        if value < least or (most is not None and value > most):
            limits = f"at least {least}" if most is None else f"{least} to {most}"
            raise InvalidArgumentError(f"{name} must be {limits}, got {value}")

    def _check_namespace(self, namespace: object) -> None:
        if not isinstance(namespace, str) or not namespace:
            raise InvalidArgumentError(
                f"namespace must be a string that is not empty, or None, got {namespace!r}"
            )
        size = len(namespace.encode("utf-8", "surrogatepass"))
        if size > MAX_NAMESPACE_BYTES:
            raise InvalidArgumentError(
                f"namespace takes {size} bytes, at most {MAX_NAMESPACE_BYTES} are allowed: {namespace[:20]!r}..."
            )


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
