"""How a sync is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_vectorize.client.errors import InvalidArgumentError

#: Of ``changed_by``: the whole record.
RECORD = "record"


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How a sync is done, beside what a load takes.

    :param changed_by: ``record``: a record has changed when its float32 values, its namespace or its metadata have;
        ``metadata.FIELD``: when that field has, whatever else has.
    :param id_prefix: every id of the source must begin so; and ``reconcile`` deletes nothing else.
    :param max_delete_fraction: of the managed ids, so many may go at once, 0 to 1.
    :param min_records: a source of fewer records is taken for partial.
    :param force: send every record, whether it has changed or not.
    :param reconcile: list the index first: send what it lacks, and delete what begins with ``id_prefix`` and is not in
        the source, whoever wrote it.
    :param dry_run: only report: send nothing, and leave the manifest as it is.
    :raises InvalidArgumentError: naming the option and its limits.
    """

    changed_by: str = RECORD
    id_prefix: str | None = None
    max_delete_fraction: float = 0.2
    min_records: int = 1
    force: bool = False
    reconcile: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        path = str(self.changed_by).split(".")
        if self.changed_by != RECORD and (path[0] != "metadata" or len(path) < 2 or "" in path):
            raise InvalidArgumentError(
                "changed_by must be 'record', or 'metadata.FIELD', such as 'metadata.content_hash', or a column of "
                f"columns; got {self.changed_by!r}"
            )
        prefix: object = self.id_prefix
        if prefix is not None and not (isinstance(prefix, str) and prefix):
            raise InvalidArgumentError(
                f"id_prefix must be a string that is not empty, or None, got {self.id_prefix!r}"
            )
        fraction: object = self.max_delete_fraction
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise InvalidArgumentError(f"max_delete_fraction must be a number from 0 to 1, got {fraction!r}")
        if type(self.min_records) is not int or self.min_records < 0:
            raise InvalidArgumentError(
                f"min_records must be a whole number of at least 0, got {self.min_records!r}"
            )


def changed_by_property(changed_by: str, columns: Mapping[str, Any] | None) -> str:
    """Give what ``changed_by`` names as a property of the metadata; it may name a column.

    :param changed_by: ``record``, ``metadata.FIELD``, or a column that ``columns`` puts into the metadata.
    :param columns: see :class:`~airflow_provider_vectorize.ingest.columns.Columns`.
    :raises InvalidArgumentError: it names a column, and the metadata has not got it.
    """
    if columns is None or changed_by == RECORD or str(changed_by).startswith("metadata."):
        return changed_by
    metadata = columns.get("metadata")
    used = [columns.get(field, field) for field in ("id", "values", "namespace")]
    if metadata == "*" and changed_by not in used:
        return f"metadata.{changed_by}"
    if isinstance(metadata, Mapping):
        named = [name for name, column in metadata.items() if column == changed_by]
    else:
        named = [name for name in metadata or () if name == changed_by]
    if not named:
        raise InvalidArgumentError(
            f"changed_by is {changed_by!r}, and columns does not put such a column into the metadata, where an index "
            "and its manifest could be compared by it: add it there"
        )
    return f"metadata.{named[0]}"


#: How many records of a load are read back.
Verify = Literal["none", "sample", "all"]


def check_verify(verify: object, verify_sample: object, *allowed: str) -> None:
    """Check these options.

    :raises InvalidArgumentError: naming what is wrong.
    """
    if verify not in allowed:
        raise InvalidArgumentError(f"verify must be {' or '.join(map(repr, allowed))}, got {verify!r}")
    if type(verify_sample) is not int or verify_sample < 1:
        raise InvalidArgumentError(
            f"verify_sample must be a whole number of at least 1, got {verify_sample!r}"
        )
