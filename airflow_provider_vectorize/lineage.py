"""What a task tells Airflow of what it did to an index: the extra of its asset event, and its OpenLineage facets.

Both are made from the task's report alone, so that they say the same after a deferral, in another process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import Asset, BaseOperator

from airflow_provider_vectorize.assets import SCHEME, dataset_name, index_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset, OutputDataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_vectorize.hooks.vectorize import VectorizeHook

log = logging.getLogger(__name__)

REPORT = "report"
#: What the extra of an asset event has of a report.
EVENT_KEYS = ("mutation_id", "accepted", "rejected", "deleted", "unchanged")


class TellsLineage(BaseOperator):
    """An operator whose task leaves a report of what it did to an index."""

    #: The index is read, and files are written.
    reads_index: ClassVar[bool] = False
    _report: Mapping[str, Any] | None = None

    if TYPE_CHECKING:

        @property
        def hook(self) -> VectorizeHook:
            """The hook of the task."""

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
        if self._report is None:
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
        extra = {key: report.get(key) for key in EVENT_KEYS}
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

        from airflow_provider_vectorize.ingest.pieces import PIECE_MARK

        index = (f"{SCHEME}://{self.hook.settings.account_id}", report["index_name"])
        sources = dict.fromkeys(name.partition(PIECE_MARK)[0] for name in report.get("sources", ()))
        files = [name for source in sources if (name := dataset_name(source)) is not None]
        read, written = ([index], files) if self.reads_index else (files, [index])
        statistics = OutputStatisticsOutputDatasetFacet(
            rowCount=report.get("accepted"), size=report.get("bytes_sent")
        )
        inputs: list[Dataset] = [Dataset(namespace=namespace, name=name) for namespace, name in read]
        outputs: list[OutputDataset] = [
            OutputDataset(namespace=namespace, name=name, outputFacets={"outputStatistics": statistics})
            for namespace, name in written
        ]
        return OperatorLineage(inputs=inputs, outputs=outputs)
