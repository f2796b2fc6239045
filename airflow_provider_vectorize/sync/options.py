"""How a sync is done."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_vectorize.client.errors import InvalidArgumentError


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

    changed_by: str = "record"
    id_prefix: str | None = None
    max_delete_fraction: float = 0.2
    min_records: int = 1
    force: bool = False
    reconcile: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        path = str(self.changed_by).split(".")
        if self.changed_by != "record" and (path[0] != "metadata" or len(path) < 2 or "" in path):
            raise InvalidArgumentError(
                "changed_by must be 'record' or 'metadata.FIELD', such as 'metadata.content_hash', got "
                f"{self.changed_by!r}"
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
