"""What a sync has done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vectorize.ingest.account import MAX_MUTATION_IDS
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.visibility import Target


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync has done; with ``dry_run`` what it would do.

    :param load: report of the load of what was added or changed.
    :param deletes: report of the deletes that followed it; None where there were none.
    :param added: records whose id was not managed.
    :param changed: records that differed from what the index was known to hold, or of which nothing sure was known.
    :param unchanged: ids that were compared, and not sent.
    :param manifest: ``path``, and ``ids`` and ``bytes`` of its base.
    :param unseen: what an earlier run has sent and cannot be seen yet, where this one had nothing to send.
    :param dry_run: nothing was sent.
    :param messages: what the user should know beside the messages of load and deletes.
    """

    load: Report
    deletes: Report | None = None
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    manifest: dict[str, Any] = field(default_factory=dict)
    unseen: Target | None = None
    dry_run: bool = False
    messages: tuple[str, ...] = ()

    @property
    def index_name(self) -> str:
        """The index."""
        return self.load.index_name

    @property
    def deleted(self) -> int:
        """Ids that the source had no more."""
        return (self.deletes and self.deletes.accepted) or 0

    @property
    def requests(self) -> int:
        """Uploads and deletes that the API accepted."""
        return sum(each.batches for each in self._parts)

    @property
    def bytes_sent(self) -> int:
        """Bytes of these."""
        return sum(each.bytes_sent for each in self._parts)

    @property
    def mutation_id(self) -> str | None:
        """The fence: once it can be seen, the index shows what the source holds. None: it does already."""
        return self._last.mutation_id if self.unseen is None else self.unseen.mutation_id

    def target(self) -> Target:
        """What to wait for.

        :raises ValueError: nothing.
        """
        return self.unseen or self._last.target()

    def to_dict(self) -> dict[str, Any]:
        """As JSON, for XCom: all of an upload's report, and the counts of the sync."""
        data = self.load.to_dict()
        messages = [message for each in self._parts for message in each.messages]
        mutation_ids = [mutation for each in self._parts for mutation in each.mutation_ids]
        return data | {
            "operation": "sync",
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "batches": self.requests,
            "bytes_sent": self.bytes_sent,
            "seconds": round(sum(each.seconds for each in self._parts), 3),
            "retries": sum(each.retries for each in self._parts),
            "mutation_id": self.mutation_id,
            "mutation_ids": mutation_ids[-MAX_MUTATION_IDS:],
            "probes": (self._last if self.unseen is None else self.unseen).to_dict()["probes"],
            "messages": [*messages, *self.messages],
            "manifest": dict(self.manifest),
            "dry_run": self.dry_run,
        }

    @property
    def _parts(self) -> tuple[Report, ...]:
        return (self.load,) if self.deletes is None else (self.load, self.deletes)

    @property
    def _last(self) -> Report:
        # Deletes are sent after everything else was accepted.
        return self._parts[-1] if self._parts[-1].mutation_id is not None else self.load
