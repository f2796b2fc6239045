"""What an index is known to hold, kept in a folder so that a kill at any moment leaves no hole.

The folder has one **base** (everything known at the end of the last green run), the **segments** of the runs after
it, and a small **pointer** that names the base. All of them are made once and never changed; a new pointer has the
next number, and only one run can make that.

- Before a request leaves, the ids that it writes or deletes are in a segment as *unknown*: whatever becomes of the
  request, the next run knows that it does not know.
- When it was accepted, a later segment says so.
- At the end of a green run all of it becomes the next base.

A segment of a run that lived on after another had taken over its lease is believed in nothing but the ids it names:
they are *unknown*.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson

from airflow_provider_vectorize.client.errors import ManifestError
from airflow_provider_vectorize.sync.folder import Folder
from airflow_provider_vectorize.sync.known import Known
from airflow_provider_vectorize.sync.lease import Lease
from airflow_provider_vectorize.sync.segments import UNKNOWN, Row, damaged, decode, encode
from airflow_provider_vectorize.visibility import Target

log = logging.getLogger(__name__)

FORMAT = 1

_POINTER = re.compile(r"manifest-(\d{8})\.json")
_BASE = re.compile(r"base-(\d{8})-")
_SEGMENT = re.compile(r"segment-(\d{8})-([0-9a-f]{16})-(\d{8})\.bin")

#: What a manifest speaks of; if any of it differs, it says nothing of this index.
Identity = dict[str, Any]


class _Segment(NamedTuple):
    epoch: int
    run: str
    number: int
    file: str


class Manifest:
    """A manifest, in a folder.

    :param folder: where; it is made when it is first needed.
    :param lease_seconds: see :class:`.lease.Lease`.
    """

    def __init__(self, folder: Folder, *, lease_seconds: float | None = None) -> None:
        self.folder = folder
        self._lease_seconds = lease_seconds

    @contextmanager
    def open(
        self, identity: Identity, run: str, on_lost: Callable[[], None] = lambda: None
    ) -> Iterator[Session]:
        """Take the lease, and read what is known.

        :param identity: what the manifest must speak of. If it speaks of something else, nothing is known.
        :param run: name of the run, for others to read.
        :param on_lost: see :class:`.lease.Lease`.
        :raises ManifestError: another run has it, it is damaged, or the folder cannot be used.
        """
        identity = {"format": FORMAT, **identity}
        held = Lease(self.folder, run, seconds=self._lease_seconds, on_lost=on_lost)
        with held as lease, Known() as known:
            pointer = _Pointer.latest(self.folder)
            forgotten = pointer is not None and pointer.differs(identity)
            if pointer is None or forgotten:
                # Before anything is written, so that this run's own segments never speak of another index.
                found = _segments(self.folder)
                pointer = _Pointer(
                    number=pointer.number + 1 if pointer else 1,
                    epoch=lease.epoch - 1,
                    identity=identity,
                    base=None,
                    folded=_latest(found),
                )
                pointer.publish(self.folder)
            session = Session(self.folder, lease, known, pointer)
            session.forgotten = forgotten
            try:
                yield session
            finally:
                session.flush()

    @contextmanager
    def look(self, identity: Identity) -> Iterator[Known]:
        """Read what is known, without a lease and without changing anything.

        :param identity: as for :meth:`open`.
        """
        pointer = _Pointer.latest(self.folder)
        with Known() as known:
            if pointer is not None and not pointer.differs({"format": FORMAT, **identity}):
                _replay(self.folder, pointer, known)
            yield known


class Session:
    """A manifest that this run has to itself."""

    def __init__(self, folder: Folder, lease: Lease, known: Known, pointer: _Pointer) -> None:
        self._folder = folder
        self._pointer = pointer
        self._settled: list[Row] = []
        self._written = 0
        self._opened = False
        self.lease = lease
        self.known = known
        #: There was a manifest, of something else.
        self.forgotten = False
        self._replayed = _replay(folder, pointer, known)

    def intend(self, ids: Sequence[str]) -> None:
        """Take down that ids are about to be written or deleted. When it returns, they may be.

        :raises ManifestError: they may not.
        """
        rows: list[Row] = [(each, UNKNOWN) for each in ids]
        self.known.apply(rows)
        self._write([*self._settled, *rows])
        self._settled = []
        self.lease.check()

    def settle(self, rows: Iterable[Row]) -> None:
        """Take down what was accepted. It is stored with the next intention, or at the end."""
        rows = list(rows)
        self.known.apply(rows)
        self._settled += rows

    def check(self) -> None:
        """Make sure that the index may still be changed: see :meth:`.lease.Lease.check`."""
        self.lease.check()

    def flush(self) -> None:
        """Store what was accepted; if that fails, the next run does it once more, which is logged."""
        if self._settled:
            try:
                self._write(self._settled)
                self._settled = []
            except ManifestError as error:
                log.warning("What was accepted could not be noted, so the next run sends it again: %s", error)

    @property
    def fence(self) -> Target | None:
        """What the last green run sent last; None: nothing."""
        return None if self._pointer.fence is None else Target.from_dict(self._pointer.fence)

    @property
    def has_loose_ends(self) -> bool:
        """Whether runs that were not green have sent something since."""
        return bool(self._replayed)

    def commit(self, fence: Target | None) -> dict[str, int]:
        """Make all that is known the new base. To be called when the index holds what it should.

        :param fence: what was sent last; None: nothing ever was.
        :returns: how many ids and bytes it has.
        :raises ManifestError: another run has changed the manifest, or it cannot be written.
        """
        self.lease.check()
        found = _segments(self._folder)
        latest = _Pointer.latest(self._folder)
        if latest is None or latest.number != self._pointer.number:
            raise self._not_alone()
        self._check_alone(found)
        if not self._written and not self._settled and not self._replayed and self._pointer.base is not None:
            return self._pointer.extent()
        base = f"base-{self._pointer.number + 1:08}-{self.lease.id}.bin"
        count = 0

        def rows() -> Iterator[Row]:
            nonlocal count
            for record_id, state, _ in self.known.rows():
                count += 1
                yield record_id, state

        size = self._folder.write(base, encode({"identity": self._pointer.identity}, rows()))
        new = _Pointer(
            number=self._pointer.number + 1,
            epoch=self.lease.epoch,
            identity=self._pointer.identity,
            base=base,
            folded=_latest(found),
            ids=count,
            size=size,
            fence=None if fence is None else fence.to_dict(),
        )
        self.lease.check()
        new.publish(self._folder)
        self._settled = []
        self._check_alone(_segments(self._folder))  # nor while the base was written
        self._pointer = new
        self._folder.delete(each.file for each in found)
        # The base of a run that has come after this one is not touched.
        self._folder.delete(
            file
            for file in self._folder.files()
            if (match := _BASE.match(file)) and int(match[1]) < new.number
        )
        return new.extent()

    def _check_alone(self, segments: Iterable[_Segment]) -> None:
        mine = self._pointer.folded | self._replayed | {self.lease.id: self._written}
        if any(each.number > mine.get(each.run, 0) for each in segments):
            raise self._not_alone()

    def _not_alone(self) -> ManifestError:
        return ManifestError(
            f"another run has used the manifest in {self._folder.name} beside this one, so that what the index "
            "holds is not sure: run it again"
        )

    def _write(self, rows: Sequence[Row]) -> None:
        header: dict[str, Any] = {"identity": self._pointer.identity}
        if not self._opened:
            header["after"] = self._replayed
        # A number is used once: after an error nobody knows whether its file is there.
        self._written += 1
        file = f"segment-{self.lease.epoch:08}-{self.lease.id}-{self._written:08}.bin"
        self._folder.create(file, b"".join(encode(header, rows)))
        self._opened = True


class _Pointer(NamedTuple):
    """The small file that says where to begin.

    :param number: the next one has the next.
    :param epoch: segments of this epoch and before that are not folded come too late to be believed.
    :param identity: what the manifest speaks of.
    :param base: file of what was known then; None for nothing.
    :param folded: by run, the last of its segments that is in the base.
    :param ids: how many are in the base.
    :param size: bytes of the base.
    :param fence: :class:`~airflow_provider_vectorize.visibility.Target` of what was sent last; None: nothing ever was.
    """

    number: int
    epoch: int
    identity: Identity
    base: str | None
    folded: dict[str, int]
    ids: int = 0
    size: int = 0
    fence: dict[str, Any] | None = None

    @classmethod
    def latest(cls, folder: Folder) -> _Pointer | None:
        numbers = [match[1] for file in folder.files() if (match := _POINTER.fullmatch(file))]
        if not numbers:
            return None
        file = f"manifest-{max(numbers)}.json"
        try:
            return cls(**orjson.loads(folder.read(file)))
        except (orjson.JSONDecodeError, TypeError) as error:
            raise damaged(folder.name_of(file), str(error)) from None
        except FileNotFoundError:
            raise ManifestError(f"{folder.name_of(file)} was removed by another run at this moment") from None

    def differs(self, identity: Identity) -> bool:
        """Tell whether it speaks of something else, and log what."""
        names = sorted(self.identity.keys() | identity.keys())
        differing = [
            f"{name} was {self.identity.get(name)!r} and is {identity.get(name)!r}"
            for name in names
            if self.identity.get(name) != identity.get(name)
        ]
        if differing:
            log.warning(
                "The manifest says nothing of this index, so all is loaded and nothing that it knew is deleted: %s. "
                "reconcile=True finds vectors that nobody manages any more",
                "; ".join(differing),
            )
        return bool(differing)

    def publish(self, folder: Folder) -> None:
        """Make it the one that counts, unless another has its number already."""
        try:
            folder.create(f"manifest-{self.number:08}.json", orjson.dumps(self._asdict()))
        except FileExistsError:
            raise ManifestError(
                f"another run has changed the manifest in {folder.name} at the same time: run it again"
            ) from None
        folder.delete(
            file
            for file in folder.files()
            if (match := _POINTER.fullmatch(file)) and int(match[1]) < self.number
        )

    def extent(self) -> dict[str, int]:
        return {"ids": self.ids, "bytes": self.size}


def _segments(folder: Folder) -> list[_Segment]:
    found = [
        _Segment(int(match[1]), match[2], int(match[3]), file)
        for file in folder.files()
        if (match := _SEGMENT.fullmatch(file))
    ]
    return sorted(found)


def _latest(segments: Iterable[_Segment]) -> dict[str, int]:
    latest: dict[str, int] = {}
    for each in segments:
        latest[each.run] = max(each.number, latest.get(each.run, 0))
    return latest


def _replay(folder: Folder, pointer: _Pointer, known: Known) -> dict[str, int]:
    """Read the base and the segments after it; give, by run, the last segment that was read."""
    if pointer.base is not None:
        try:
            rows = decode(folder.blocks(pointer.base), folder.name_of(pointer.base))
            next(rows)
            known.apply(rows)  # type: ignore[arg-type]  # only the first is a header
        except FileNotFoundError:
            raise damaged(folder.name, f"its base {pointer.base} is missing") from None
    fresh = [each for each in _segments(folder) if each.number > pointer.folded.get(each.run, 0)]
    #: By run, the last of its segments that every later run has seen.
    seen: dict[str, int] = {}
    for opening in {each.run: each for each in reversed(fresh)}.values():
        after = _open(folder, opening)[0].get("after", {})
        for run in {each.run for each in fresh if each.epoch < opening.epoch}:
            seen[run] = min(after.get(run, 0), seen.get(run, 1 << 62))
    late = []
    for segment in fresh:
        if segment.epoch <= pointer.epoch or segment.number > seen.get(segment.run, segment.number):
            late.append(segment)
        else:
            _apply(folder, segment, pointer, known)
    for segment in late:
        _apply(folder, segment, pointer, known, believed=False)
    return _latest(fresh)


def _apply(
    folder: Folder, segment: _Segment, pointer: _Pointer, known: Known, *, believed: bool = True
) -> None:
    header, rows = _open(folder, segment)
    if header.get("identity") == pointer.identity:
        known.apply(rows if believed else [(record_id, UNKNOWN) for record_id, _ in rows])


def _open(folder: Folder, segment: _Segment) -> tuple[dict[str, Any], list[Row]]:
    name = folder.name_of(segment.file)
    try:
        header, *rows = decode([folder.read(segment.file)], name)
    except FileNotFoundError:
        raise ManifestError(f"{name} was removed by another run at this moment") from None
    return header, rows  # type: ignore[return-value]  # the first is the header
