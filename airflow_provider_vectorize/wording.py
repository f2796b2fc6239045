"""Long texts in short lines, for whoever reads them in a web browser. Imports nothing of the package."""

from __future__ import annotations

import re

#: Characters of a line of Airflow's log that are seen in a window of 1,280 pixels.
LOG_LENGTH = 120
#: The same of the text that a task failed with, which is set far to the right.
FAILURE_LENGTH = 80
#: Of the name of the exception, which Airflow sets before the first line of that.
_NAME_LENGTH = len("AirflowFailException: ")
#: What a line is broken behind, the best first. A word or two before a colon belong to what follows.
_BREAKS = (r"\.", ";", ".{40}:")


def in_short_lines(text: str, length: int = LOG_LENGTH) -> str:
    """Break a text between sentences, or else behind semicolons or far colons.

    Airflow's log does not wrap unless told to.

    :param text: any; its own lines stay.
    :param length: characters that a line should not be longer than, where there is a place to break it.
    """
    return "\n".join(short for line in text.splitlines() for short in _broken(line, length, *_BREAKS))


def of_a_failure(text: str) -> str:
    """Break the text that a task fails with."""
    short = in_short_lines(text, FAILURE_LENGTH)
    return f"\n{short}" if len(short.partition("\n")[0]) > FAILURE_LENGTH - _NAME_LENGTH else short


def _broken(text: str, length: int, mark: str = "", *weaker: str) -> list[str]:
    if len(text) <= length or not mark:
        return [text]
    lines = [""]
    for part in re.split(f"(?<={mark}) ", text):
        if lines[-1] and len(lines[-1]) + len(part) < length:
            lines[-1] += f" {part}"
        else:
            lines += _broken(part, length, *weaker)
    return lines[1:]
