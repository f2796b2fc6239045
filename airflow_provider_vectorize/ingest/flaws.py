"""What is wrong with a record."""

from __future__ import annotations


class FlawError(Exception):
    """What is wrong with a record.

    :param code: short name of the rule.
    :param reason: the rule and the value that breaks it.
    :param record_id: the record's id, as far as it is known.
    """

    def __init__(self, code: str, reason: str, record_id: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.record_id = record_id
