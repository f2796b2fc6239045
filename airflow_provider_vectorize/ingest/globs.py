"""What a glob names, found level by level: what cannot be listed is an error, and never nothing.

The ``glob``, ``walk`` and ``exists`` of fsspec take a folder that cannot be listed for an empty one. So only its
``ls`` is used here, and only a folder that nobody has listed may be absent.

``*``, ``?`` and ``[...]`` stand for characters of one name, ``**`` for any number of folders. A name that begins with
``.`` or ``_`` is only taken by a pattern that begins with it as well: it is somebody's temporary file or mark. Where
a folder has a name that is the pattern, letter by letter, it is that name that is meant.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, NamedTuple, Self

_MAGIC = frozenset("*?[")
#: Stores without folders: one flat listing names all that is below a prefix, and what it fails with is raised.
_FLAT = frozenset({"s3", "s3a", "gs", "gcs"})

Info = Mapping[str, Any]


class Entry(NamedTuple):
    """What a listing says of a file or folder.

    :param name: the last part of its path.
    :param path: for the filesystem.
    :param info: size, type, etag and the like.
    """

    name: str
    path: str
    info: Info

    @classmethod
    def of(cls, path: str, info: Info) -> Self:
        """Name it by the last part of its path."""
        return cls(path.rpartition("/")[2], path, info)

    @property
    def type(self) -> str:
        """``file``, ``directory``, or what the filesystem calls a link."""
        return str(self.info.get("type") or "file")


def is_glob(path: str) -> bool:
    """Tell whether a path may be a pattern."""
    return not _MAGIC.isdisjoint(path)


def find(fs: Any, pattern: str, asking: Callable[[str], AbstractContextManager[None]]) -> dict[str, Info]:
    """Find the files that match a glob.

    :param fs: an fsspec filesystem.
    :param pattern: for that filesystem.
    :param asking: entered with a path whenever the filesystem is asked about it; names it in what is raised.
    :returns: what the listings say of each file, by its path, sorted.
    :raises Exception: whatever the filesystem raises when it cannot list a folder, or when something that a listing
        has named is gone.
    """
    root, parts = split(pattern)
    search = _Search(fs, asking)
    search.descend(root, parts, named_by_listing=False)
    return dict(sorted(search.found.items()))


def matches(pattern: str, path: str) -> bool:
    """Tell whether a glob would find a file of that path.

    :param pattern: a glob, or the path of one file.
    :param path: for the same filesystem.
    """
    return _match(pattern.split("/"), path.split("/"))


def split(pattern: str) -> tuple[str, list[str]]:
    """Cut a glob into the folder in which it begins and the parts below."""
    parts = pattern.split("/")
    first = next((place for place, part in enumerate(parts) if is_glob(part)), len(parts) - 1)
    return "/".join(parts[:first]), parts[first:]


class _Search:
    def __init__(self, fs: Any, asking: Callable[[str], AbstractContextManager[None]]) -> None:
        self._fs = fs
        self._asking = asking
        self._entries: dict[str, list[Entry]] = {}
        self.found: dict[str, Info] = {}

    def descend(self, folder: str, parts: Sequence[str], *, named_by_listing: bool) -> None:
        """Find what is in a folder.

        :param folder: where to look; empty: at the root.
        :param parts: what to look for below it.
        :param named_by_listing: a listing has named it, so that it cannot be absent.
        """
        part, *rest = parts
        if part == "**":
            self._list_flat(folder)
            self.descend(folder, rest or ["*"], named_by_listing=named_by_listing)
            for entry in self._list(folder, named_by_listing=named_by_listing):
                # Links to folders are not followed here: they may lead back.
                if entry.type == "directory" and not _is_hidden(entry.name):
                    self.descend(entry.path, parts, named_by_listing=True)
        elif rest and not is_glob(part) and folder not in self._entries:
            self.descend(f"{folder.rstrip('/')}/{part}", rest, named_by_listing=False)
        else:
            for entry in _choose(self._list(folder, named_by_listing=named_by_listing), part):
                path, info = entry.path, self._follow(entry)
                if rest and info.get("type") == "directory":
                    self.descend(path, rest, named_by_listing=True)
                elif not rest and info.get("type") != "directory":
                    self.found[path] = info

    def _list(self, folder: str, *, named_by_listing: bool) -> list[Entry]:
        if folder not in self._entries:
            with self._asking(folder):
                try:
                    infos = self._fs.ls(folder or self._fs.root_marker, detail=True)
                except FileNotFoundError:
                    if named_by_listing:
                        raise
                    infos = []
            entries = [Entry.of(str(info["name"]).rstrip("/"), info) for info in infos]
            # It lists itself when it is a file, or when an object stands for it.
            self._entries[folder] = [entry for entry in entries if entry.path != folder.rstrip("/")]
        return self._entries[folder]

    def _list_flat(self, folder: str) -> None:
        protocol = self._fs.protocol
        if folder in self._entries or _FLAT.isdisjoint([protocol] if isinstance(protocol, str) else protocol):
            return
        with self._asking(folder):
            found = self._fs.find(folder or self._fs.root_marker, detail=True)
        self._entries[folder] = []
        for path, info in found.items():
            if path.endswith("/") or path == folder:
                continue  # it stands for a folder
            entry = Entry.of(path, info)
            while True:  # the file, and every folder above it that is not known yet
                parent = entry.path.removesuffix(f"/{entry.name}")
                known = parent in self._entries
                self._entries.setdefault(parent, []).append(entry)
                if known:
                    break
                entry = Entry.of(parent, {"type": "directory"})

    def _follow(self, entry: Entry) -> Info:
        if entry.type in ("file", "directory"):
            return entry.info
        with self._asking(entry.path):
            return dict(self._fs.info(entry.path))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _choose(entries: Sequence[Entry], part: str) -> list[Entry]:
    exact = [entry for entry in entries if entry.name == part]
    return exact or [entry for entry in entries if _matcher(part)(entry.name)]


def _match(parts: Sequence[str], names: Sequence[str]) -> bool:
    if not parts or not names:
        return not parts and not names
    part, *rest = parts
    if part != "**":
        return (part == names[0] or _matcher(part)(names[0])) and _match(rest, names[1:])
    return _match(rest or ["*"], names) or (not _is_hidden(names[0]) and _match(parts, names[1:]))


@lru_cache(maxsize=256)
def _matcher(part: str) -> Callable[[str], bool]:
    matching = re.compile(fnmatch.translate(part)).match

    def match(name: str) -> bool:
        return matching(name) is not None and (not _is_hidden(name) or part.startswith(name[0]))

    return match
