"""What a template leaves behind where a value was meant: text that names nothing, and is refused."""

from __future__ import annotations

import ast
import re

from airflow_provider_vectorize.client.errors import InvalidArgumentError

#: Objects, as Python shows them: `<... object at 0x7f...>`, `LazySelectSequence([...])`, `[PosixPath('/a')]`.
_REPR = re.compile(r"<.*>|Lazy\w+\(.*|\{\{.*\}\}|[\[({].*['\"(].*[\])}]", re.DOTALL)


def refuse_leftovers(**arguments: object) -> None:
    """Refuse what a template makes of a list, of None or of nothing.

    :param arguments: values by the name of their argument; of a list each item is looked at.
    :raises InvalidArgumentError: naming the argument, its value and the remedy.
    """
    for name, value in arguments.items():
        items = (
            {f"{name}[{n}]": item for n, item in enumerate(value)} if isinstance(value, list | tuple) else {}
        )
        for place, item in (items or {name: value}).items():
            if item is None and items:
                raise InvalidArgumentError(f"{place} is None: the upstream task returned nothing")
            if isinstance(item, str) and (origin := _origin(item)) is not None:
                raise InvalidArgumentError(
                    f"{place} is {item[:200]!r}, which is what a template makes of {origin}. Pass the upstream task's "
                    f"output as it is, {name}=upstream.output, and not by a template"
                )


def _origin(text: str) -> str | None:
    text = text.strip()
    if not text:
        return "nothing"
    if text in ("None", "null", "undefined", "Undefined"):
        return "None, or of an upstream task that returned nothing"
    try:
        value = ast.literal_eval(text) if text[0] in "[({" else text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return "an object" if _REPR.fullmatch(text) else None
