"""Files are found level by level: what cannot be listed is never nothing, and a name is not a pattern."""

from __future__ import annotations

import fnmatch
import itertools
import os

import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import SourceError
from airflow_provider_vectorize.ingest.files import expand
from airflow_provider_vectorize.ingest.globs import is_glob, matches
from airflow_provider_vectorize.ingest.sources import START, Files
from tests.ingest.helpers import FS


class StorageDownError(Exception):
    """As botocore's errors are: no OSError."""


class Tree(MemoryFileSystem):
    """Files in memory, some of whose folders cannot be listed. Counts what it is asked."""

    cachable = False
    protocol = "tree"

    def __init__(self, files, broken=None):
        super().__init__()
        self.store = {}
        self.pseudo_dirs = [""]
        self.broken = broken or {}
        self.listed = []
        for path in files:
            self.pipe_file(path, b"1\n")

    def ls(self, path, detail=True, **kwargs):
        path = self._strip_protocol(path)
        self.listed.append(path)
        if path in self.broken:
            raise self.broken[path]
        return super().ls(path, detail=detail, **kwargs)

    def find(self, *args, **kwargs):  # as most filesystems do: from listings
        return AbstractFileSystem.find(self, *args, **kwargs)


def names(fs, pattern):
    return [file.path for file in expand(fs, pattern, pattern)]


DAYS = ["/day/dt=1/part.ndjson", "/day/dt=2/part.ndjson", "/day/dt=3/part.ndjson"]


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("403"),
        OSError(5, "503 Slow Down"),
        StorageDownError("throttled"),
        TimeoutError(),
        ValueError("what?"),
        FileNotFoundError("it was listed a moment ago"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    "pattern", ["/day/dt=*/part.ndjson", "/day/*/*.ndjson", "/day/**/*.ndjson", "/**/part.ndjson", "/day/**"]
)
def test_a_folder_that_cannot_be_listed_is_an_error_that_names_it(pattern, error):
    fs = Tree(DAYS, {"/day/dt=2": error})
    if isinstance(error, OSError):  # the trap
        assert "/day/dt=2/part.ndjson" not in fs.glob(pattern)
    with pytest.raises(SourceError, match="tree:///day/dt=2") as caught:
        names(fs, pattern)
    assert caught.value.__cause__ is error
    assert names(Tree(DAYS), pattern) == DAYS


def test_a_folder_that_is_not_there_is_nothing_and_one_that_cannot_be_listed_is_not():
    assert names(Tree(DAYS), "/night/*.ndjson") == []
    assert names(Tree(DAYS), "/day/dt=*/none/*.ndjson") == []
    with pytest.raises(SourceError, match="tree:///night"):
        names(Tree(DAYS, {"/night": PermissionError("403")}), "/night/*.ndjson")


def test_a_local_folder_without_permission_is_an_error(tmp_path, monkeypatch):
    for day in "12":
        (tmp_path / f"dt={day}").mkdir()
        (tmp_path / f"dt={day}" / "part.ndjson").write_text("1\n")

    class Guarded(type(FS)):  # root may list everything
        cachable = False

        def ls(self, path, detail=False, **kwargs):
            if path.endswith("dt=2"):
                raise PermissionError(13, "Permission denied", path)
            return super().ls(path, detail=detail, **kwargs)

    with pytest.raises(SourceError, match=r"dt=2 .*cannot be read: PermissionError"):
        names(Guarded(), f"{tmp_path}/dt=*/part.ndjson")


LITERAL = [
    "a?b.ndjson",
    "[d] a.ndjson",
    "rep[1].ndjson",
    "a*b.ndjson",
    "*.ndjson",
    "[!x].ndjson",
    "a#b?c.ndjson",
    " x .ndjson",
    "a\tb.ndjson",
    "a\nb.ndjson",
    "ü€😀.ndjson",
    "%20.ndjson",
    "~.ndjson",
    "{a,b}.ndjson",
    "$(x) && y;.ndjson",
]


@pytest.mark.parametrize("name", LITERAL)
def test_a_path_that_exists_as_it_stands_is_that_file(tmp_path, name):
    (tmp_path / name).write_text("1\n")
    for other in ("axb.ndjson", "d a.ndjson", "rep1.ndjson", "aab.ndjson", "y.ndjson", "a/b.ndjson"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_text("2\n")
    assert names(FS, f"{tmp_path}/{name}") == [f"{tmp_path}/{name}"]


def test_a_folder_with_the_name_of_a_pattern_is_that_folder(tmp_path):
    for folder in ("[d] data", "d data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.ndjson").write_text("1\n")
    assert names(FS, f"{tmp_path}/[d] data/*.ndjson") == [f"{tmp_path}/[d] data/a.ndjson"]
    assert names(FS, f"{tmp_path}/? data/*.ndjson") == [f"{tmp_path}/d data/a.ndjson"]


TEMPORARY = [
    "/t/a.ndjson",
    "/t/.a.ndjson.crc",
    "/t/_SUCCESS",
    "/t/_temporary/0/a.ndjson",
    "/t/.ipynb_checkpoints/a.ndjson",
    "/t/b/a.ndjson",
    "/t/b/_a.ndjson",
]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/t/*", ["/t/a.ndjson"]),
        ("/t/**", ["/t/a.ndjson", "/t/b/a.ndjson"]),
        ("/t/**/*.ndjson", ["/t/a.ndjson", "/t/b/a.ndjson"]),
        ("/t/*/*", ["/t/b/a.ndjson"]),
        ("/t/?SUCCESS", []),
        ("/t/[_]SUCCESS", []),
        ("/t/_*", ["/t/_SUCCESS"]),
        ("/t/.*", ["/t/.a.ndjson.crc"]),
        ("/t/_temporary/**", ["/t/_temporary/0/a.ndjson"]),
        ("/t/_*/*/*", ["/t/_temporary/0/a.ndjson"]),
        ("/t/*/_*", ["/t/b/_a.ndjson"]),
    ],
)
def test_temporary_files_and_marks_are_left_out_unless_the_pattern_spells_them(pattern, found):
    assert names(Tree(TEMPORARY), pattern) == found


def test_links_to_files_and_folders_are_followed_but_by_two_stars_only_to_files(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.ndjson").write_text("1\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.ndjson").symlink_to(tmp_path / "real" / "a.ndjson")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "in" / "back").symlink_to(tmp_path / "in")
    [file] = expand(FS, f"{tmp_path}/in/*.ndjson", "")
    assert file.info()["size"] == 2
    assert names(FS, f"{tmp_path}/in/folder/*.ndjson") == [f"{tmp_path}/in/folder/a.ndjson"]
    assert names(FS, f"{tmp_path}/in/f*/*.ndjson") == [f"{tmp_path}/in/folder/a.ndjson"]
    assert names(FS, f"{tmp_path}/in/**/*.ndjson") == [f"{tmp_path}/in/b.ndjson"]


def test_a_link_that_leads_nowhere_is_an_error_where_the_glob_takes_it(tmp_path):
    (tmp_path / "a.ndjson").write_text("1\n")
    (tmp_path / ".#a.ndjson").symlink_to("user@host")  # an editor's lock
    assert names(FS, f"{tmp_path}/*") == [f"{tmp_path}/a.ndjson"]
    (tmp_path / "b.ndjson").symlink_to(tmp_path / "gone")
    with pytest.raises(SourceError, match=r"b\.ndjson .*does not exist"):
        names(FS, f"{tmp_path}/*")


def test_what_is_neither_file_nor_folder_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "a.ndjson")
    for path in (f"{tmp_path}/a.ndjson", f"{tmp_path}/*"):
        with pytest.raises(SourceError, match="neither a file nor a folder"):
            names(FS, path)


@pytest.mark.parametrize(
    ("tree", "advice"),
    [
        (["a.json.gz", "b.json.gz", "c.txt"], r"\*\.json\.gz$"),
        (["x.jsonl"], r"\*\.jsonl$"),
        (["day/a.ndjson"], r"\*\*/\*\.ndjson$"),
        (["part-0"], r"/\*$"),
        (["_SUCCESS"], "there are no files in it"),
    ],
)
def test_a_folder_is_refused_with_the_glob_that_finds_its_files(tmp_path, tree, advice):
    for name in tree:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    with pytest.raises(SourceError, match=rf"is a folder, not a file; .*{advice}") as caught:
        expand(FS, str(tmp_path), "")
    assert caught.value.permanent


def test_a_local_file_is_asked_about_once_and_what_a_glob_lists_not_at_all(tmp_path):
    asked = []

    class Counting(type(FS)):
        cachable = False

        def info(self, path, **kwargs):
            if isinstance(path, str):
                asked.append(path)
            return super().info(path, **kwargs)

    fs = Counting()
    for name in "ab":
        (tmp_path / f"{name}.ndjson").write_text("1\n")
    for files in (
        [*expand(fs, f"{tmp_path}/a.ndjson", ""), *expand(fs, f"{tmp_path}/b.ndjson", "")],
        expand(fs, f"{tmp_path}/*.ndjson", ""),
    ):
        source = Files(files)
        assert source.identity() is not None
        assert len(list(source.read(START, lambda: None))) == 2
    assert sorted(path for path in asked if path != str(tmp_path)) == [f"{tmp_path}/{n}.ndjson" for n in "ab"]


# A plain model

PARTS = ["a", "b", "ab", "_a", ".a", "[a]", "a*", "dt=1"]
PATTERNS = ["a", "*", "?", "a*", "[ab]", "[a]", "_*", ".a", "**", "dt=*", "[!b]"]
trees = st.sets(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join), min_size=1, max_size=8
)
patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map("/".join)


def model(files, pattern):
    """What the documentation says, in the plainest way."""
    folders = {tuple(file.split("/")[:depth]) for file in files for depth in range(file.count("/") + 1)}
    files = {tuple(file.split("/")) for file in files}
    found = set()

    def walk(folder, parts):
        part, *rest = parts
        below = {path for path in files | folders if path[: len(folder)] == folder and path != folder}
        children = sorted({path[len(folder)] for path in below})
        if part == "**":
            walk(folder, rest or ["*"])
            for name in children:
                if (*folder, name) in folders and name[0] not in "._":
                    walk((*folder, name), parts)
            return
        taken = (
            [part]
            if part in children
            else [
                name
                for name in children
                if fnmatch.fnmatchcase(name, part) and (name[0] not in "._" or name[0] == part[0])
            ]
        )
        for name in taken:
            path = (*folder, name)
            if rest and path in folders:
                walk(path, rest)
            elif not rest and path in files:
                found.add("/" + "/".join(path))

    if tuple(pattern.split("/")) in files:
        return ["/" + pattern]
    walk((), pattern.split("/"))
    return sorted(found)


@settings(max_examples=400, deadline=None)
@given(trees, patterns, st.data())
def test_what_is_found_is_what_a_plain_model_says_or_the_load_is_red(files, pattern, data):
    # A file is no folder.
    files = {file for file in files if not any(other.startswith(f"{file}/") for other in files)}
    folders = sorted({"/" + file.rpartition("/")[0] for file in files if "/" in file})
    broken = data.draw(st.sets(st.sampled_from(folders), max_size=2)) if folders else set()
    expected = model(files, pattern)
    all_folders = {"/" + "/".join(file.split("/")[:depth]) for file in files for depth in range(1, 4)} - {
        f"/{file}" for file in files
    }
    fs = Tree([f"/{file}" for file in files], {path: StorageDownError("down") for path in broken})
    if "*" not in pattern and f"/{pattern}" in all_folders:
        with pytest.raises(SourceError, match="is a folder"):
            names(fs, f"/{pattern}")
        return
    try:
        found = names(fs, f"/{pattern}")
    except SourceError:
        assert broken & set(fs.listed)
        return
    assert not broken & set(fs.listed)
    assert found == expected


def test_all_the_examples_of_matching_agree_with_the_search():
    for pattern, file in itertools.product(PATTERNS, PARTS):
        if is_glob(pattern):
            assert bool(names(Tree([f"/x/{file}"]), f"/x/{pattern}")) == matches(
                f"/x/{pattern}", f"/x/{file}"
            )
