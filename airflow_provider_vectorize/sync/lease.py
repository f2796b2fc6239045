"""Who may change an index by a manifest: one run at a time, for as long as it renews its lease.

Each lease is a file of its own with a number in its name. Whoever makes the next number has it, and making a file
that is not there is all that the storage has to do in one step.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from airflow_provider_vectorize.client.errors import ManifestError, VectorizeError
from airflow_provider_vectorize.sync.folder import Folder

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0

_NAME = re.compile(r"lease-(\d{8})\.json")


class Lease:
    """The right to change an index by a manifest. Use as a context, which renews it in the background.

    :param folder: the manifest's.
    :param run: name of the run, for others to read.
    :param seconds: how long it lasts without being renewed. The clocks of the workers must agree better than a
        quarter of that.
    :param clock: tells seconds since 1970.
    :param on_lost: called, from any thread, when it is lost; whatever is under way should end at once.
    :raises ManifestError: another run has it.
    """

    def __init__(
        self,
        folder: Folder,
        run: str,
        *,
        seconds: float | None = None,
        clock: Callable[[], float] = time.time,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._run = run
        self._seconds = LEASE_SECONDS if seconds is None else seconds
        self._clock = clock
        self._on_lost = on_lost
        self._ended = threading.Event()
        self._lost: str | None = None
        self.id = uuid.uuid4().hex[:16]
        self.epoch, self.took_over = self._take()
        self._thread = threading.Thread(target=self._keep, name="vectorize-lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._lost is None:
            try:
                self._folder.replace(_name(self.epoch), self._content(expires=0.0))
            except ManifestError as error:
                log.warning("The lease could not be given back, and runs out by itself: %s", error)

    def check(self) -> None:
        """Make sure that no other run can have it; to be asked right before anything is changed.

        :raises ManifestError: it is lost, or could not be renewed in time.
        """
        self._look_at_the_clock()
        if self._lost is not None:
            raise ManifestError(
                f"the lease on the manifest in {self._folder.name} is lost: {self._lost}. Nothing more was sent; the "
                "next run mends what this one has left"
            )

    def _look_at_the_clock(self) -> None:
        if self._lost is None and self._clock() > self._expires - self._seconds / 4:
            self._lose("it could not be renewed in time")

    def _lose(self, why: str) -> None:
        self._lost = why
        self._on_lost()

    def _take(self) -> tuple[int, str | None]:
        last, lease = self._last()
        took_over = None
        if lease.get("expires", 0.0) > self._clock():
            raise ManifestError(
                f"the manifest in {self._folder.name} is in use by {lease.get('run')}, whose lease lasts until "
                f"{_time(lease['expires'])}, longer if that run is alive. Two runs at a time would undo each other's "
                "work. If that run is dead, try again after that time"
            )
        if lease.get("expires", 0.0) > 0:
            took_over = f"{lease.get('run')}, whose lease ran out at {_time(lease['expires'])}"
            log.warning("Taking over the manifest in %s from %s", self._folder.name, took_over)
        self._expires = self._clock() + self._seconds
        try:
            self._folder.create(_name(last + 1), self._content(self._expires))
        except FileExistsError:
            raise ManifestError(
                f"the manifest in {self._folder.name} was taken by another run at the same moment"
            ) from None
        self._folder.delete([_name(last)] if last else [])
        return last + 1, took_over

    def _last(self) -> tuple[int, dict[str, Any]]:
        last = self._highest()
        if not last:
            return 0, {}
        try:
            lease = orjson.loads(self._folder.read(_name(last)))
            return last, lease if isinstance(lease, dict) else {}
        except FileNotFoundError:
            # It was there a moment ago: its successor has removed it.
            raise ManifestError(
                f"the manifest in {self._folder.name} was taken by another run at the same moment"
            ) from None
        except orjson.JSONDecodeError as error:
            raise ManifestError(
                f"{self._folder.name_of(_name(last))} is damaged ({error}): remove it if no run is under way"
            ) from None

    def _highest(self) -> int:
        return max(
            (int(match[1]) for file in self._folder.files() if (match := _NAME.fullmatch(file))), default=0
        )

    def _content(self, expires: float) -> bytes:
        return orjson.dumps({"run": self._run, "id": self.id, "expires": expires, "until": _time(expires)})

    def _keep(self) -> None:
        while not self._ended.wait(self._seconds / 6):
            try:
                self.renew()
            except VectorizeError as error:
                log.warning("The lease could not be renewed, tried again: %s", error)
                self._look_at_the_clock()
            if self._lost is not None:
                return

    def renew(self) -> None:
        """Make it last longer, unless another run has taken it over."""
        if self._highest() != self.epoch:
            self._lose("another run has taken it over")
            return
        expires = self._clock() + self._seconds
        self._folder.replace(_name(self.epoch), self._content(expires))
        self._expires = expires


def _name(epoch: int) -> str:
    return f"lease-{epoch:08}.json"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
