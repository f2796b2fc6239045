"""The folder of a manifest, on a local disk, in memory and in S3."""

from __future__ import annotations

import threading
import uuid

import fsspec
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from airflow_provider_vectorize.client.errors import ManifestError
from airflow_provider_vectorize.sync.folder import Folder


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def folder(request, tmp_path):
    if request.param == "s3":
        url = request.getfixturevalue("moto")
        fs = s3fs.S3FileSystem(key="testing", secret="testing", endpoint_url=url)
        bucket = uuid.uuid4().hex
        fs.mkdir(bucket)
        return Folder(fs, f"{bucket}/manifest", f"s3://{bucket}/manifest")
    path = str(tmp_path / "manifest") if request.param == "file" else f"/{uuid.uuid4().hex}/manifest"
    return Folder(fsspec.filesystem(request.param), path, path)


def test_a_folder_that_is_not_there_has_no_files(folder):
    assert folder.files() == {}


def test_a_file_is_made_once(folder):
    folder.create("a", b"first")
    with pytest.raises(FileExistsError):
        folder.create("a", b"second")
    assert folder.read("a") == b"first"
    assert folder.files() == {"a": 5}


def test_of_eight_who_make_a_file_at_the_same_moment_one_does(folder):
    start = threading.Barrier(8)
    made = []

    def make(number: int) -> None:
        start.wait()
        try:
            folder.create("a", str(number).encode())
            made.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [folder.read("a")] == [str(number).encode() for number in made]


def test_a_file_is_replaced_and_deleted_and_one_that_is_missing_is_said_so(folder):
    folder.replace("a", b"first")
    folder.replace("a", b"second")
    assert folder.read("a") == b"second"
    folder.delete(["a", "b"])
    assert folder.files() == {}
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_a_large_file_is_written_and_read_in_blocks(folder):
    blocks = [bytes([number]) * 1_000_000 for number in range(10)]
    assert folder.write("a", iter(blocks)) == 10_000_000
    assert b"".join(folder.blocks("a")) == b"".join(blocks)


def test_what_a_store_raises_names_the_folder():
    class Broken(fsspec.AbstractFileSystem):
        def ls(self, path, detail=True, **kwargs):
            raise RuntimeError("SlowDown")

    with pytest.raises(ManifestError, match=r"the manifest in x://y cannot be used: RuntimeError: SlowDown"):
        Folder(Broken(), "y", "x://y").files()
