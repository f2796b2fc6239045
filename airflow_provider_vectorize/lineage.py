"""What a task tells Airflow of what it did to an index: the extra of its asset event, and its OpenLineage facets.

Both are made from the task's report alone, so that they say the same after a deferral, in another process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import Asset

from airflow_provider_vectorize.assets import SCHEME, dataset_name, index_uri
from airflow_provider_vectorize.base import TaskOnIndex

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset
    from airflow.providers.openlineage.extractors import OperatorLineage

log = logging.getLogger(__name__)

REPORT = "report"
#: What the extra of an asset event has of a report.
EVENT_KEYS = ("mutation_id", "accepted", "rejected", "deleted", "unchanged")


class TellsLineage(TaskOnIndex):
    """An operator whose task leaves a report of what it did to an index."""

    #: The index is read, and files are written: an export.
    reads_index: ClassVar[bool] = False
    _report: Mapping[str, Any] | None = None

    def keep_report(self, report: Any) -> None:
        """Keep the report, if there is one, for what Airflow is told after the task."""
        self._report = None if report is None else report.to_dict()

    def push_report(self, context: Any, report: Mapping[str, Any]) -> None:
        """Push the report of what was done so far, also of a task that is about to be red."""
        self._report = report
        if self.do_xcom_push:
            context["ti"].xcom_push(key=REPORT, value=report)

    def recall_report(self, context: Any) -> None:
        """Read again, after a deferral, the report that the task pushed before it."""
        ti = context["ti"]
        found = ti.xcom_pull(task_ids=ti.task_id, key=REPORT, map_indexes=ti.map_index)
        self._report = found if isinstance(found, Mapping) else None

    def post_execute(self, context: Any, result: Any = None) -> None:
        """Give the events of the index' asset, if that is an outlet of the task, their extra."""
        super().post_execute(context, result)
        if self._report is None or self.reads_index:
            return
        try:
            self._tell_outlets(context, self._report)
        except Exception as error:  # noqa: BLE001  # the task has done its work
            log.warning("The asset event has no extra: %r", error)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002
        """Tell OpenLineage what was read and written. Airflow's provider for it calls this."""
        return None if self._report is None else self._lineage(self._report)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Tell what was read and written before the task failed."""
        return self.get_openlineage_facets_on_complete(task_instance)

    def _tell_outlets(self, context: Any, report: Mapping[str, Any]) -> None:
        uri = index_uri(self.hook.settings.account_id, report["index_name"])
        outlets = [each for each in self.outlets or () if isinstance(each, Asset) and each.uri == uri]
        if not outlets:
            return
        if report.get("dry_run"):
            self.outlets = [each for each in self.outlets if each not in outlets]
            log.info("A dry run writes nothing, so it emits no event of %s", uri)
            return
        extra = {key: report.get(key) for key in EVENT_KEYS}
        if report["operation"] == "delete":
            extra |= {"accepted": 0, "deleted": report["accepted"]}
        extra["dimensions"] = self.hook.conn.get_index(report["index_name"]).dimensions
        for outlet in outlets:
            context["outlet_events"][outlet].extra.update(extra)

    def _lineage(self, report: Mapping[str, Any]) -> OperatorLineage[Any, Any]:
        from airflow.providers.common.compat.openlineage.facet import (
            Dataset,
            OutputDataset,
            OutputStatisticsOutputDatasetFacet,
        )
        from airflow.providers.openlineage.extractors import OperatorLineage

        def output(namespace: str, name: str, rows: int | None, size: int | None) -> OutputDataset:
            statistics = OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size)
            return OutputDataset(
                namespace=namespace, name=name, outputFacets={"outputStatistics": statistics}
            )

        index = (f"{SCHEME}://{self.hook.settings.account_id}", report["index_name"])
        inputs: list[tuple[str, str]]
        outputs: list[OutputDataset]
        if self.reads_index:
            inputs = [index]
            outputs = [
                output(*name, rows, size)
                for file, rows, size in report["files"]
                if (name := dataset_name(file)) is not None
            ]
        else:
            inputs = list(_files(report["sources"]))
            outputs = [output(*index, report["accepted"], report["bytes_sent"])]
        return OperatorLineage(
            inputs=[Dataset(namespace=namespace, name=name) for namespace, name in inputs],
            outputs=[] if report.get("dry_run") else outputs,
        )


def _files(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Give the names of the files among what was read, each once, also if it was read by pieces."""
    from airflow_provider_vectorize.ingest.pieces import PIECE_MARK

    files = dict.fromkeys(name.partition(PIECE_MARK)[0] for name in sources)
    return filter(None, map(dataset_name, files))
