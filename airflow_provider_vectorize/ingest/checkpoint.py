"""Remember how far a load has come, so that the next try goes on there."""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Protocol

import orjson

from airflow_provider_vectorize.ingest.report import Account

log = logging.getLogger(__name__)

_VERSION = 2

#: What is compared before going on, and how the log calls it when it differs.
Fingerprint = dict[str, str | None]


class Checkpoint(Protocol):
    """A place to keep a small JSON object from one try of a task to the next, such as Airflow's task state store.

    The load reads it once and writes it after every accepted prefix; a failure of either is logged, and the load
    goes on. It is not deleted when the load is done, so that a task that fails **after** it, while waiting, does
    not load again: whoever owns the store deletes it when the task has succeeded.
    """

    def load(self) -> dict[str, Any] | None:
        """Give what was stored last, or None."""
        ...

    def save(self, state: dict[str, Any]) -> None:
        """Store, replacing what was there."""
        ...


def fingerprint(**parts: object) -> Fingerprint:
    """Digest what must be the same for a load to go on.

    :param parts: JSON-ready; a part that is None cannot be told from others, and never matches.
    """
    return {
        name: None
        if part is None
        else hashlib.blake2b(orjson.dumps(part, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
        for name, part in parts.items()
    }


class Journal:
    """The checkpoint of one load.

    :param store: None keeps nothing.
    :param mark: the load's fingerprint.
    """

    def __init__(self, store: Checkpoint | None, mark: Fingerprint) -> None:
        self._store = store
        self._mark = mark

    def open(self) -> tuple[Account, bool]:
        """Give the account to go on with, and whether an earlier try may have sent something."""
        if self._store is None:
            return Account(), False
        try:
            state = self._store.load()
        except Exception as error:  # noqa: BLE001  # stores are foreign code, and the load can do without
            log.warning("The checkpoint could not be read, so the load starts at the beginning: %r", error)
            return Account(), True
        if state is None:
            return Account(), False
        changed = self._changed(state)
        if changed:
            log.warning("An earlier try cannot be continued, so the load starts again: %s", changed)
            return Account(), True
        return Account.from_state(state["account"]), True

    def save(self, account: Account) -> None:
        """Store the account; a failure is logged."""
        if self._store is None:
            return
        try:
            self._store.save({"version": _VERSION, "fingerprint": self._mark, "account": account.to_state()})
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("The checkpoint could not be stored, a retry may send more again: %r", error)

    def _changed(self, state: dict[str, Any]) -> str | None:
        if state.get("version") != _VERSION:
            return "it was made by another version of this package"
        before = state.get("fingerprint") or {}
        unknown = [name for name, digest in self._mark.items() if digest is None]
        if unknown:
            return (
                f"the {unknown[0]} cannot be told from others: they were given as values, or their storage tells "
                "neither etag nor time of change"
            )
        differing = [name for name, digest in self._mark.items() if before.get(name) != digest]
        return f"the {' and the '.join(differing)} changed" if differing else None
