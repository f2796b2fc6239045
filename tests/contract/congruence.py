"""The emulator and the real service side by side: ``make contract-real`` prints what differs, ready for the docs."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import NamedTuple

from airflow_provider_vectorize.emulator import Emulator
from tests.contract.checks import CHECKS, Answers
from tests.contract.service import Service, emulated, live, missing


class Difference(NamedTuple):
    """A field that two services answer differently."""

    check: str
    field: str
    left: str
    right: str


def differences(check: str, left: Answers, right: Answers) -> list[Difference]:
    """Compare the answers of one check, field by field."""
    return [
        Difference(check, field, left.get(field, "(not asked)"), right.get(field, "(not asked)"))
        for field in dict.fromkeys([*left, *right])
        if left.get(field) != right.get(field)
    ]


def compare(left: Service, right: Service) -> tuple[int, list[Difference]]:
    """Run every check on both; give how many fields were compared, and which differ."""
    fields, found = 0, []
    for name, check in CHECKS.items():
        one, other = check(left), check(right)
        fields += len(one.keys() | other.keys())
        found += differences(name, one, other)
        print(
            f"{name}: {len(one)} fields, {len(differences(name, one, other))} differ",
            file=sys.stderr,
            flush=True,
        )
    return fields, found


def table(fields: int, found: list[Difference], when: datetime) -> str:
    """Give the table as Markdown."""
    head = f"Compared on {when:%Y-%m-%d}: {fields} fields, of which {len(found)} differ."
    if not found:
        return head
    rows = [
        [cell.replace("|", "\\|") for cell in row]
        for row in [("check", "what", "emulator", "service"), *found]
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "", lines[0], "|---|---|---|---|", *lines[1:]])


def main() -> int:
    """Compare, print the table; 2 if there is no account to compare with."""
    if names := missing(os.environ):
        print(
            f"contract-real: not run: set {', '.join(names)}. It creates indexes named contract-... in that account, "
            "and deletes them again; it takes about five minutes.",
            file=sys.stderr,
        )
        return 2
    with Emulator(visibility=("delay", 0.05)) as emulator:
        service = live(os.environ)
        try:
            print(table(*compare(emulated(emulator), service), datetime.now(UTC)))
        finally:
            service.clean_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())
