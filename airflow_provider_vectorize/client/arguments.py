"""What the arguments of a call must look like. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.limits import MAX_INDEX_NAME_BYTES

_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_INDEX_NAME = re.compile(r"[a-z]+[a-z0-9_-]*[a-z0-9]+")


def check_account_id(account_id: str) -> None:
    """Check that an account id can be part of a path.

    :raises InvalidArgumentError: saying what the rule is.
    """
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise InvalidArgumentError(f"account_id {account_id[:40]!r} is not of the form [A-Za-z0-9_-]{{1,32}}")


def check_index_name(index_name: str) -> str:
    """Check the name of an index against the API's rule, and return it.

    :raises InvalidArgumentError: saying what the rule is.
    """
    if len(index_name) > MAX_INDEX_NAME_BYTES or not _INDEX_NAME.fullmatch(index_name):
        raise InvalidArgumentError(
            f"index_name {index_name[:80]!r} is not valid: a lower-case letter first, then lower-case letters, digits, "
            f"'-' and '_', a letter or digit last, 2 to {MAX_INDEX_NAME_BYTES} bytes"
        )
    return index_name


def parts_of(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut ids in parts of at most a size."""
    if isinstance(ids, str):
        raise InvalidArgumentError(f"ids must be a list of ids, got the text {ids[:80]!r}")
    everything = list(ids)
    return (everything[start : start + size] for start in range(0, len(everything), size))
