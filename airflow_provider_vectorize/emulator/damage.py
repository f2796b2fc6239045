"""What the faults ``drop`` and ``corrupt`` do to a write that was accepted. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import ceil
from typing import TypeVar

from airflow_provider_vectorize.emulator.models import Vector

_Item = TypeVar("_Item")


class Damage:
    """The damage to one write, and the account of it.

    :param share: of ``drop``: that share of the items, rounded up, is lost; spread evenly over the write. None
        for ``corrupt``: the first value of the first vector differs.
    """

    def __init__(self, share: float | None) -> None:
        self._share = share
        #: The ids that were lost, or the one that differs.
        self.ids: list[str] = []

    def vectors(self, vectors: list[Vector]) -> list[Vector]:
        """Give what is stored of these vectors."""
        if self._share is not None:
            return self._keep(vectors, lambda vector: vector.id)
        if not vectors:
            return []
        first, *rest = vectors
        self.ids.append(first.id)
        (value,) = struct.unpack_from("<f", first.values)
        other = struct.pack("<f", 0.5 if value == 1 else 1)
        return [first._replace(values=other + first.values[4:]), *rest]

    def names(self, ids: list[str]) -> list[str]:
        """Give which of these ids are deleted."""
        return self._keep(ids, str)

    def _keep(self, items: list[_Item], name: Callable[[_Item], str]) -> list[_Item]:
        lost = ceil((self._share or 0) * len(items))
        places = {number * len(items) // lost for number in range(lost)}
        self.ids += [name(items[place]) for place in sorted(places)]
        return [item for place, item in enumerate(items) if place not in places]
