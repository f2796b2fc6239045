"""What a sensor is told to wait for, and the reports that its upstream tasks have on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.limits import MAX_MUTATION_ID_CHARS

_MUTATION_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_MUTATION_ID_CHARS}}}")
#: What a template makes of an XCom that is missing: words, but no ids.
_RENDERED = ("None", "null", "nan")


@dataclass(slots=True)
class Awaited:
    """The writes that a sensor waits for.

    :param ids: mutation ids, each once, in the order given.
    :param reports: reports that were given with them, by mutation id.
    :param is_list: a list was given, so a list is returned, also of one.
    :param nones: how many of them were None.
    """

    ids: list[str] = field(default_factory=list)
    reports: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    is_list: bool = False
    nones: int = 0

    @classmethod
    def read(cls, value: Any) -> Awaited:
        """Read a mutation id, a report, or a list or lazy sequence of these.

        :raises InvalidArgumentError: naming what is none of these.
        """
        awaited = cls()
        awaited._take(value)
        awaited.ids = list(dict.fromkeys(awaited.ids))
        return awaited

    def _take(self, value: Any) -> None:
        if value is None:
            self.nones += 1
        elif isinstance(value, str):
            if not _MUTATION_ID.fullmatch(value.strip()) or value.strip() in _RENDERED:
                raise _refusal(value)
            self.ids.append(value.strip())
        elif wrote_nothing(value):
            return
        elif isinstance(value, Mapping):
            if not isinstance(value.get("mutation_id"), str) or "probes" not in value:
                raise _refusal(value)
            self._take(value["mutation_id"])
            self.reports[self.ids[-1]] = value
        elif isinstance(value, Iterable) and not isinstance(value, bytes):
            self.is_list = True
            for item in value:
                self._take(item)
        else:
            raise _refusal(value)

    @property
    def result(self) -> str | list[str]:
        """What the sensor returns."""
        return self.ids if self.is_list else self.ids[0]

    @property
    def missing(self) -> list[str]:
        """Ids without a report."""
        return [each for each in self.ids if each not in self.reports]

    def look_up(self, ti: Any, direct: Sequence[str], others: Sequence[str]) -> None:
        """Find the reports of upstream tasks, asking for no more than is needed.

        :param ti: the task instance that waits.
        :param direct: ids of the direct upstream tasks.
        :param others: ids of those further up.
        :raises InvalidArgumentError: there are more None than direct upstream tasks that had nothing to write: one
            has forgotten to return what it wrote.
        """
        if ti.map_index >= 0:
            self._look_at(ti, direct, map_indexes=ti.map_index)
        self._look_at(ti, direct)
        if self.nones > 0:
            raise _refusal(None)
        self._look_at(ti, others)

    def _look_at(self, ti: Any, task_ids: Sequence[str], **where: int) -> None:
        missing = set(self.missing)
        if not task_ids or not (missing or self.nones > 0):
            return
        nothing = 0
        for report in ti.xcom_pull(task_ids=sorted(task_ids), key="report", **where) or ():
            if wrote_nothing(report):
                nothing += 1
            elif isinstance(report, Mapping) and report.get("mutation_id") in missing:
                self.reports[report["mutation_id"]] = report
        if nothing >= self.nones:
            self.nones = 0

    def index_name(self, given: str | None) -> str | None:
        """Give the index that the writes are in.

        :param given: the one that was asked for.
        :raises InvalidArgumentError: a report says another.
        """
        names = {str(report["index_name"]) for report in self.reports.values() if report.get("index_name")}
        if given:
            names.add(given)
        if len(names) > 1:
            raise InvalidArgumentError(
                f"index_name is {given!r}, and the reports of what is waited for are on {', '.join(sorted(names))}: "
                "wait for each index by itself"
            )
        return names.pop() if names else None


def wrote_nothing(value: object) -> bool:
    """Tell whether it is the report of a task that had nothing to write."""
    return isinstance(value, Mapping) and "probes" in value and value.get("mutation_id", "") is None


def pack(ids: Sequence[str], seen: Iterable[str]) -> str:
    """Note which of many ids were seen, in a quarter of a byte for each.

    :param ids: all ids, in their order.
    """
    known = set(seen)
    return f"{sum(1 << place for place, each in enumerate(ids) if each in known):x}"


def unpack(ids: Sequence[str], packed: str) -> list[str]:
    """Read what :func:`pack` wrote."""
    bits = int(packed or "0", 16)
    return [each for place, each in enumerate(ids) if bits >> place & 1]


def _refusal(value: Any) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"mutation_id must be a mutation id, a report or a list of these, got {str(value)[:200]!r}: did the upstream "
        "task upload something? Pass its output as it is, mutation_id=upload.output, and not by a template"
    )
