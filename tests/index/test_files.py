"""A file that is there as a whole or not at all."""

from __future__ import annotations

import gzip

import fsspec
import pytest

from airflow_provider_vectorize.client.errors import OutputError
from airflow_provider_vectorize.index.files import writing

LOCAL = fsspec.filesystem("file")


def test_it_is_there_once_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    with writing(LOCAL, str(path), "a") as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_it_replaces_one_that_is_there(tmp_path):
    path = tmp_path / "a.gz"
    path.write_text("old")
    with writing(LOCAL, str(path), "a") as file:
        file.write(b"new")
    assert gzip.decompress(path.read_bytes()) == b"new"


@pytest.mark.parametrize("name", ["a.txt", "a.gz"])
def test_what_fails_half_way_leaves_nothing_and_the_old_one_as_it_was(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")

    def write_half():
        with writing(LOCAL, str(path), "a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_equal_contents_make_equal_files(tmp_path):
    for name in ("a.gz", "b.gz"):
        with writing(LOCAL, str(tmp_path / name), "a") as file:
            file.write(b"x" * 1000)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"out/a cannot be written: NotADirectoryError"),
        writing(LOCAL, str(tmp_path / "file" / "a"), "out/a"),
    ):
        pass


def test_in_a_store_of_objects():
    store = fsspec.filesystem("memory")
    with writing(store, "/bucket/a.txt", "a") as file:
        file.write(b"one")
    assert store.cat("/bucket/a.txt") == b"one"
    assert [each.rsplit("/", 1)[1] for each in store.ls("/bucket", detail=False)] == ["a.txt"]
    store.rm("/bucket", recursive=True)
