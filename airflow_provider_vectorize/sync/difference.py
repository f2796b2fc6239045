"""What follows from what is known of an index and what its source says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum

from airflow_provider_vectorize.client.errors import SyncGuardError
from airflow_provider_vectorize.sync.known import Bits
from airflow_provider_vectorize.sync.segments import State

#: Ids that a refusal names.
MAX_NAMED = 10


class Change(Enum):
    """What a record is to the index."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


def compare(known: State, mark: bytes) -> Change:
    """Compare a record with what is known of its id.

    :param known: its state; *unknown* is never what is wanted.
    :param mark: of the record.
    """
    if known is None:
        return Change.ADDED
    return Change.UNCHANGED if known == mark else Change.CHANGED


def gone(managed: Iterable[tuple[str, bytes, int]], seen: Bits) -> Iterator[str]:
    """Give the ids that are managed and that the source does not have.

    :param managed: id, state and number of each.
    :param seen: numbers of those that the source has.
    """
    return (record_id for record_id, _, number in managed if number not in seen)


def guard(
    *,
    managed: int,
    records: int,
    going: int,
    first: Sequence[str],
    nameless: int,
    min_records: int,
    max_delete_fraction: float,
) -> None:
    """Refuse a deletion on doubtful word.

    :param managed: ids that were managed when the run began.
    :param records: ids that the source has.
    :param going: managed ids that it does not have.
    :param first: the first of these.
    :param nameless: records of the source whose id could not be read.
    :param min_records: fewer records than that are no source.
    :param max_delete_fraction: of the managed ids, so many may go at once, 0 to 1.
    :raises SyncGuardError: saying what to set if it is meant.
    """
    named = ", ".join(map(repr, first[:MAX_NAMED])) + (", ..." if going > MAX_NAMED else "")
    if records < min_records:
        raise SyncGuardError(
            f"the source has {records} records, and min_records is {min_records}: it may be partial. Nothing was "
            f"deleted ({going} ids would have been{': ' + named if going else ''}). If it is meant, set "
            f"min_records={records}"
        )
    if going and nameless:
        raise SyncGuardError(
            f"the source has {nameless} records whose id cannot be read, so that nobody can tell which of {going} "
            f"ids are gone ({named}). Nothing was deleted. Mend these records"
        )
    if going > max_delete_fraction * managed:
        share = going / managed
        raise SyncGuardError(
            f"the source lacks {going} of the {managed} ids that this manifest manages ({share:.1%}), and "
            f"max_delete_fraction is {max_delete_fraction}: it may be partial. Nothing was deleted. The first are "
            f"{named}. If it is meant, set max_delete_fraction={min(1.0, int(share * 100 + 1) / 100)}"
        )
