"""Remember how far a load has come, so that the next try goes on there."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from airflow_provider_vectorize.ingest.account import Account
from airflow_provider_vectorize.ingest.rejects import Reject
from airflow_provider_vectorize.ingest.sources import Position
from airflow_provider_vectorize.visibility import Probe
from airflow_provider_vectorize.wording import in_short_lines

log = logging.getLogger(__name__)

_VERSION = 4

#: What is compared before going on, and how the log calls it when it differs.
Fingerprint = dict[str, str | None]


class Checkpoint(Protocol):
    """A place to keep a small JSON object from one try of a task to the next, such as Airflow's task state store.

    The load reads it once and writes it before every request and at its end; a failure of either is logged, and the
    load goes on. It is not deleted when the load is done, so that a task that fails **after** it, while waiting, does
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

    def open(self) -> tuple[Account | None, bool]:
        """Give the account to go on with, if there is one, and whether an earlier try has left anything."""
        if self._store is None:
            return None, False
        try:
            state = self._store.load()
        except Exception as error:  # noqa: BLE001  # stores are foreign code, and the load can do without
            log.warning("The checkpoint could not be read, so the load starts at the beginning: %r", error)
            return None, True
        if state is None:
            return None, False
        changed = self._changed(state)
        account = None
        if changed is None:
            try:
                account = _account_of(state["account"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                changed = f"what it left cannot be read ({error!r})"
        if changed is not None:
            what = f"An earlier try cannot be continued, so the load starts again: {changed}"
            log.warning("%s", in_short_lines(what))
        return account, True

    def save(self, account: Account, seconds: float) -> None:
        """Store the account; a failure is logged.

        :param seconds: time that this try has taken.
        """
        if self._store is None:
            return
        state = {
            "version": _VERSION,
            "fingerprint": self._mark,
            "account": _state_of(account.settled, seconds),
        }
        try:
            self._store.save(state)
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("The checkpoint could not be stored, a retry may send more again: %r", error)

    def _changed(self, state: object) -> str | None:
        if not isinstance(state, Mapping) or state.get("version") != _VERSION:
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


def _state_of(account: Account, seconds: float) -> dict[str, Any]:
    return {
        "position": list(account.position),
        "sent_to": list(account.sent_to),
        "last_accepted": account.last_accepted and list(account.last_accepted),
        "complete": account.complete,
        "chunks": account.chunks,
        "accepted": account.accepted,
        "rejected": account.rejected,
        "superseded": account.superseded,
        "bytes_read": account.bytes_read,
        "bytes_sent": account.bytes_sent,
        "batches": account.batches,
        "retries": account.retries,
        "seconds": round(account.seconds + seconds, 3),
        "mutation_ids": list(account.mutation_ids),
        "messages": list(account.messages),
        "probes": [[probe.id, probe.digest] for probe in account.probes],
        "named": [list(reject) for reject in account.named],
        "refusals": dict(account.refusals),
    }


def _account_of(state: Mapping[str, Any]) -> Account:
    return Account(
        position=Position(*state["position"]),
        sent_to=Position(*state["sent_to"]),
        last_accepted=state["last_accepted"] and Position(*state["last_accepted"]),
        complete=state["complete"],
        chunks=state["chunks"],
        accepted=state["accepted"],
        rejected=state["rejected"],
        superseded=state["superseded"],
        bytes_read=state["bytes_read"],
        bytes_sent=state["bytes_sent"],
        batches=state["batches"],
        retries=state["retries"],
        seconds=state["seconds"],
        mutation_ids=list(state["mutation_ids"]),
        messages=list(state["messages"]),
        probes=[Probe(*probe) for probe in state["probes"]],
        named=[Reject(*reject) for reject in state["named"]],
        refusals=dict(state["refusals"]),
    )
