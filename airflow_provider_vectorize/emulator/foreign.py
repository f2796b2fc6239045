"""Writes that somebody else is going to make, and when. No clock and no storage of its own."""

from __future__ import annotations

import heapq
from typing import NamedTuple


class _Order(NamedTuple):
    at: float
    every: float
    left: int


class Foreign:
    """The orders of all indexes."""

    def __init__(self) -> None:
        self._orders: dict[int, list[_Order]] = {}

    def add(self, number: int, writes: int, every: float, now: float) -> None:
        """Order writes.

        :param number: the index's.
        :param every: seconds from one to the next; the first comes after that time too.
        """
        heapq.heappush(self._orders.setdefault(number, []), _Order(now + every, every, writes))

    def indexes(self) -> set[int]:
        """Give the numbers of the indexes that writes are left for."""
        return {number for number, orders in self._orders.items() if orders}

    def is_due(self, number: int, now: float) -> bool:
        """Tell whether a write is."""
        orders = self._orders.get(number, [])
        return bool(orders) and orders[0].at <= now

    def take(self, number: int, now: float, limit: int) -> list[float]:
        """Take the next writes that are due off the orders; give their times."""
        orders = self._orders.get(number, [])
        times: list[float] = []
        while orders and orders[0].at <= now and len(times) < limit:
            order = heapq.heappop(orders)
            times.append(order.at)
            if order.left > 1:
                heapq.heappush(orders, order._replace(at=order.at + order.every, left=order.left - 1))
        return times

    def forget(self, number: int) -> None:
        """Drop the orders of an index."""
        self._orders.pop(number, None)
