"""What a sync has done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vectorize.ingest.account import MAX_MUTATION_IDS
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.visibility import Probe, Target


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync has done; with ``dry_run`` what it would do.

    :param load: report of the load of what was added or changed.
    :param added: records whose id was not managed.
    :param changed: records that differed from what the index was known to hold, or of which nothing sure was known.
    :param unchanged: ids that were compared, and not sent.
    :param deleted: ids that the source had no more.
    :param delete_mutations: mutations of the deletes, in the order of sending, the last 1,000.
    :param delete_probes: ids by which the deletes can be recognised.
    :param manifest: ``path``, and ``ids`` and ``bytes`` of its base.
    :param dry_run: nothing was sent.
    :param messages: what the user should know beside the load's messages.
    """

    load: Report
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    delete_mutations: tuple[str, ...] = ()
    delete_probes: tuple[Probe, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    messages: tuple[str, ...] = ()

    @property
    def index_name(self) -> str:
        """The index."""
        return self.load.index_name

    @property
    def mutation_id(self) -> str | None:
        """The fence: once it can be seen, all of the sync can. None when nothing was sent."""
        return self.delete_mutations[-1] if self.delete_mutations else self.load.mutation_id

    def target(self) -> Target:
        """What to wait for.

        :raises ValueError: nothing was sent.
        """
        if not self.delete_mutations:
            return self.load.target()
        # It was sent after everything else was accepted.
        return Target(self.delete_mutations[-1], probes=self.delete_probes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, for XCom: all of an upload's report, and the counts of the sync."""
        data = self.load.to_dict()
        data |= {
            "operation": "sync",
            "mutation_id": self.mutation_id,
            "mutation_ids": [*data["mutation_ids"], *self.delete_mutations][-MAX_MUTATION_IDS:],
            "messages": [*data["messages"], *self.messages],
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "manifest": dict(self.manifest),
            "dry_run": self.dry_run,
        }
        if self.delete_mutations:
            data["probes"] = [[probe.id, probe.digest] for probe in self.delete_probes]
        return data
