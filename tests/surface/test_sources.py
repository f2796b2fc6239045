"""Sources through Airflow's object storage: what a path, a glob and a template's leftover mean to hook and sensor."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import boto3
import fsspec
import pytest
from aiobotocore.client import AioBaseClient
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    ObjectStoragePath,
    task,
)
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile
from moto.server import ThreadedMotoServer
from upath import UPath

from airflow_provider_vectorize.client.errors import EmptySourceError, InvalidArgumentError, SourceError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.ingest import SourceFile
from airflow_provider_vectorize.ingest.files import expand
from airflow_provider_vectorize.ingest.sources import START, Files
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.runtime.storage import Settling, described, places_of, snapshot, source_files
from airflow_provider_vectorize.runtime.templates import refuse_leftovers
from airflow_provider_vectorize.sensors.vectorize import VectorizeUpsertSensor
from tests.surface.conftest import INDEX, Instance, ndjson, vectors


def source_exists(source):
    """As the sensor looks."""
    return snapshot(places_of(source)) is not None


LEFTOVERS = [
    "['/a', '/b']", "('/a',)", "[]", "{}", "{'a': 1}", "None", "", "  ", "[None]", "null", "[PosixPath('/a')]",
    "<airflow.sdk.LazyXComSequence object at 0x7f1>", "LazySelectSequence([1])", "{{ ti.xcom_pull('a') }}",
    " ['/a'] ", '["/a"]',
]  # fmt: skip


@pytest.mark.parametrize("value", LEFTOVERS)
@pytest.mark.parametrize("argument", ["source", "namespace", "index_name", "rejects_path"])
def test_what_a_template_leaves_is_refused_with_the_advice_to_pass_output(
    emulator, tmp_path, argument, value
):
    path = tmp_path / "a.ndjson"
    path.write_text(ndjson(vectors("a")))
    arguments = {"source": str(path), "index_name": INDEX, "on_invalid": "reject"} | {argument: value}
    with pytest.raises(InvalidArgumentError, match=rf"^{argument} is .*{argument}=upstream\.output"):
        VectorizeHook().upsert(**arguments)
    assert not emulator.log() or all(row["operation"] != "upsert" for row in emulator.log())


@pytest.mark.parametrize(
    "value", ["/data/a.ndjson", "[d] a.ndjson", "[ab].ndjson", "/x/[0-9]", "none", "Nonesuch", "s3://b/{x}"]
)  # fmt: skip
def test_a_name_that_only_looks_odd_is_none(value):
    refuse_leftovers(source=value, namespace=value)


@pytest.mark.parametrize("kind", [VectorizeUpsertOperator, VectorizeUpsertSensor])
@pytest.mark.parametrize(("on_empty", "state"), [("fail", "failed"), ("skip", "skipped")])
def test_an_upstream_that_returned_nothing_is_nothing_to_load(emulator, dag, run_dag, kind, on_empty, state):
    @task
    def make():
        return None

    with dag:
        kind(task_id="upsert", index_name=INDEX, source=make(), on_empty=on_empty)
    ended = run_dag(dag)
    assert ended.task_state("upsert") == state
    assert "source is None, since the upstream task returned nothing" in ended.log


def test_a_glob_of_a_list_that_finds_nothing_is_empty_for_the_operator_and_not_there_for_the_sensor(tmp_path):
    (tmp_path / "a.ndjson").write_text("1\n")
    source = [f"{tmp_path}/a.ndjson", f"{tmp_path}/*.none"]
    with pytest.raises(EmptySourceError, match=r"no file matches file://.*/\*\.none"):
        source_files(source)
    assert not source_exists(source)
    assert source_exists(source[:1])
    with pytest.raises(SourceError, match=r"b\.ndjson does not exist"):
        source_files([source[0], f"{tmp_path}/b.ndjson"])


@pytest.mark.parametrize(
    "name", ["a?b.ndjson", "[d] a.ndjson", "a#b", "a?", "x#", "a\tb", "c:d", "e@f", "%41", " g "]
)
def test_a_path_is_that_file_whatever_is_in_it(tmp_path, name, monkeypatch):
    (tmp_path / name).write_text("1\n")
    monkeypatch.chdir(tmp_path)
    for path in (f"{tmp_path}/{name}", f"file://{tmp_path}/{name}", tmp_path / name, Path(name)):
        [file] = source_files(path)
        assert file.path == f"{tmp_path}/{name}"
    assert source_exists(f"{tmp_path}/{name}")


def test_paths_of_every_kind_are_sources_and_rejects_paths(emulator, tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(ndjson([*vectors("a"), {"id": "bad"}]))
    for kind in (str, Path, UPath, ObjectStoragePath, lambda text: ObjectStoragePath(f"file://{text}")):
        for source in (kind(path), [kind(path)]):
            options = {"on_invalid": "reject", "max_rejects": 1, "rejects_path": kind(tmp_path / "rejects")}
            report = VectorizeHook().upsert(INDEX, source=source, **options)
            assert report.sources == (f"file://{path}",)
    assert len(list((tmp_path / "rejects").iterdir())) == 1  # the very same records


def test_a_path_from_an_upstream_task_is_a_source_mapped_too(emulator, dag, run_dag, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.ndjson").write_text(ndjson(vectors(name)))

    @task
    def find():
        return [ObjectStoragePath(f"file://{tmp_path}/{name}.ndjson") for name in "ab"]

    with dag:
        found = find()
        VectorizeUpsertOperator(task_id="all", index_name=INDEX, source=found)
        VectorizeUpsertOperator.partial(task_id="each", index_name=INDEX).expand(source=found)
    ended = run_dag(dag)
    assert ended.state == "success"
    assert ended.xcom("all", "report")["accepted"] == 2


class Down(MemoryFileSystem):
    """A storage whose listings and look-ups fail, with an error that is no OSError."""

    protocol = "memory"
    cachable = False

    def ls(self, path, **kwargs):
        raise RuntimeError("\x1b[31mthrottled")

    def info(self, path, **kwargs):
        raise RuntimeError("\x1b[31mthrottled")


@pytest.mark.parametrize("path", ["memory:///day/*.ndjson", "memory:///day/a.ndjson", "memory:///**/*"])
def test_to_the_sensor_a_storage_error_is_not_yet_and_its_timeout_names_it(dag, path):
    source = UPath(path)
    source._fs_cached = Down()
    with dag:
        sensor = VectorizeUpsertSensor(task_id="wait", source=source, poke_interval=0.01, timeout=0.05)
    with pytest.raises(AirflowSensorTimeout) as caught:
        sensor.execute({"ti": Instance(), "task": sensor})
    assert path in str(caught.value)
    assert r"RuntimeError: \x1b[31mthrottled" in " ".join(str(caught.value).split())


def test_to_the_sensor_what_no_wait_can_mend_is_an_error(dag, tmp_path):
    with dag:
        for number, source in enumerate([str(tmp_path), "nope://bucket/key", "None", ["/a", None]]):
            sensor = VectorizeUpsertSensor(task_id=f"wait{number}", source=source)
            sensor._settling = Settling(0.0)
            with pytest.raises(AirflowFailException):
                sensor.poke({})


def test_a_scheme_names_its_provider_and_no_other(monkeypatch):
    for scheme, provider in (("gs", "google"), ("abfs", "microsoft-azure"), ("abfss", "microsoft-azure")):
        with pytest.raises(SourceError, match=f"install apache-airflow-providers-{provider}") as caught:
            source_files(f"{scheme}://bucket/key")
        assert "amazon" not in str(caught.value)
        assert caught.value.permanent


def test_a_source_is_named_without_its_connection():
    assert described("s3://mine@bucket/key") == "s3://bucket/key"
    assert described([f"/{n}" for n in range(5)]) == "/0, /1, /2 and 2 more"


# The rejects folder


@pytest.mark.parametrize(
    ("pattern", "rejects"),
    [
        ("in/*", "in"),
        ("in/*.ndjson", "in/"),
        ("**", "rejects"),
        ("in/**/*.ndjson", "in/a/b"),
        ("*/*", "../{name}/in"),
    ],
)
def test_a_rejects_folder_within_the_source_is_refused(emulator, tmp_path, pattern, rejects):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ndjson").write_text(ndjson(vectors("a")))
    path = f"{tmp_path}/{rejects.format(name=tmp_path.name)}"
    with pytest.raises(InvalidArgumentError, match=r"rejects_path .* is inside of source"):
        VectorizeHook().upsert(INDEX, source=f"{tmp_path}/{pattern}", on_invalid="reject", rejects_path=path)


def test_rejects_are_never_overwritten_by_other_sizes_another_run_or_over_a_mended_file(emulator, tmp_path):
    path, rejects = tmp_path / "a.ndjson", tmp_path / "rejects"
    path.write_text(ndjson([row for n in range(6) for row in (*vectors(f"v{n}"), {"id": f"bad{n}"})]))

    def load(**options):
        VectorizeHook().upsert(
            INDEX, source=str(path), on_invalid="reject", max_rejects=9, rejects_path=str(rejects), **options
        )
        return {file.name: file.read_text() for file in rejects.iterdir()}

    first = load(max_batch_vectors=2)
    assert load(max_batch_vectors=2) == first
    second = load(max_batch_vectors=4)
    assert first.items() < second.items()
    mended = rejects / min(second)
    mended.write_text(ndjson(vectors("mended")))
    third = load(max_batch_vectors=2)
    assert third[mended.name] == ndjson(vectors("mended"))
    assert sum(text.count('"bad0"') for text in third.values()) >= 1


# Object stores


class Transcoding(MemoryFileSystem):
    """As gcsfs shows an object with a Content-Encoding: compressed size, decoded bytes, cut at that size."""

    protocol = "gs"
    cachable = False

    def __init__(self):
        super().__init__()
        self.store, self.encoding = {}, {"contentEncoding": "gzip"}

    def info(self, path, **kwargs):
        info = super().info(path, **kwargs)
        return info if info["type"] == "directory" else info | {"etag": "x"} | self.encoding

    def ls(self, path, detail=True, **kwargs):
        return [self.info(entry["name"]) for entry in super().ls(path, detail=True, **kwargs)]

    def find(self, path, **kwargs):
        return {name: self.info(name) for name in super().find(path)}

    def _open(self, path, mode="rb", **kwargs):
        if mode != "rb":
            return super()._open(path, mode, **kwargs)
        plain = gzip.decompress(self.store[path].getvalue())

        class File(AbstractBufferedFile):
            def _fetch_range(self, start, end):
                return plain[start:end]

        return File(self, path, size=self.info(path)["size"])


@pytest.mark.parametrize(
    "encoding",
    [
        {"contentEncoding": "gzip"},
        {"content_settings": {"content_encoding": "gzip"}},
        {"Content-Encoding": "br"},
    ],
    ids=str,
)
@pytest.mark.parametrize("pattern", ["/b/a.ndjson", "/b/*", "/**/*.ndjson"])
def test_an_object_that_is_decoded_on_its_way_is_refused_by_name(pattern, encoding):
    fs = Transcoding()
    fs.encoding = encoding
    fs.pipe_file("/b/a.ndjson", gzip.compress(ndjson(vectors(*map(str, range(200)))).encode()))
    with pytest.raises(SourceError, match=r"gs:///b/a\.ndjson is stored with Content-Encoding: (gzip|br)"):
        expand(fs, pattern, pattern)


def test_without_that_header_such_an_object_breaks_off():
    fs = Transcoding()
    fs.encoding = {"contentEncoding": None}
    fs.pipe_file("/b/a.ndjson", gzip.compress(ndjson(vectors(*map(str, range(200)))).encode()))
    with pytest.raises(SourceError, match="breaks off"):
        list(Files(expand(fs, "/b/*", "")).read(START, lambda: None))


def test_a_storage_that_tells_neither_etag_nor_time_of_change_gives_no_identity():
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/nine/a.ndjson", b"1\n")
    [file] = expand(memory, "/nine/*", "")
    assert Files([file]).identity() is None
    for info in ({"ETag": ""}, {"mtime": 0}, {"LastModified": None}):
        assert Files([SourceFile(memory, "a", "a", {"size": 1} | info)]).identity() is None
    assert Files([SourceFile(memory, "a", "a", {"size": 1, "ETag": "x"})]).identity() == [["a", 1, "x"]]


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.GZ"])
def test_a_gz_of_no_bytes_is_an_upload_that_broke_off(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    for path in (f"{tmp_path}/{name}", f"{tmp_path}/*"):
        with pytest.raises(SourceError, match="0 bytes"):
            list(Files(source_files(path)).read(START, lambda: None))
    (tmp_path / name).write_bytes(gzip.compress(b""))
    assert list(Files(source_files(f"{tmp_path}/{name}")).read(START, lambda: None)) == []


@pytest.fixture(scope="module")
def s3_url():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_url, monkeypatch):
    """S3, and a count of the requests to it by their kind."""
    client = boto3.client(
        "s3", endpoint_url=s3_url, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    client.create_bucket(Bucket="nine-bucket")
    connection = {"conn_type": "aws", "login": "k", "password": "s", "extra": {"endpoint_url": s3_url}}
    monkeypatch.setenv("AIRFLOW_CONN_NINE", json.dumps(connection))
    asked: Counter = Counter()
    call = AioBaseClient._make_api_call  # where all that s3fs asks comes through, by pages too

    async def counting(self, operation, arguments):
        asked[operation] += 1
        return await call(self, operation, arguments)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", counting)
    client.asked = asked
    yield client
    for item in client.list_objects_v2(Bucket="nine-bucket").get("Contents", []):
        client.delete_object(Bucket="nine-bucket", Key=item["Key"])


def read(source):
    files = Files(source_files(source))
    assert files.identity() is not None
    return [item.data for item in files.read(START, lambda: None)]


def test_s3_is_asked_once_about_each_key_and_once_for_each_folder(s3):
    keys = [f"d{n % 2}/part-{n}.ndjson" for n in range(6)]
    for n, key in enumerate(keys):
        s3.put_object(Bucket="nine-bucket", Key=key, Body=f"{n}\n".encode())
    for folder in ("d0/", "d1/", "empty/"):
        s3.put_object(Bucket="nine-bucket", Key=folder, Body=b"")
    s3.put_object(Bucket="nine-bucket", Key="d0/_temporary/0/x.ndjson", Body=b"9\n")
    s3.put_object(Bucket="nine-bucket", Key="d0/rep[1].ndjson", Body=b"7\n")
    s3.put_object(Bucket="nine-bucket", Key="d1//double.ndjson", Body=b"8\n")

    def asked(source):
        s3.asked.clear()
        found = read(source)
        return found, s3.asked["HeadObject"], s3.asked["ListObjectsV2"]

    found, heads, lists = asked([f"s3://nine@nine-bucket/{key}" for key in keys])
    assert (len(found), heads, lists) == (6, 6, 0)
    found, heads, lists = asked("s3://nine@nine-bucket/d*/part-*.ndjson")
    assert (len(found), heads, lists) == (6, 0, 3)
    found, heads, lists = asked(
        [
            "s3://nine@nine-bucket/d0/part*",
            "s3://nine@nine-bucket/d0/*-2.ndjson",
            "s3://nine@nine-bucket/d1/p*",
        ]
    )
    assert (len(found), heads, lists) == (3 + 1 + 3, 0, 2)
    found, heads, lists = asked("s3://nine@nine-bucket/**/*.ndjson")
    assert (len(found), lists) == (8, 1)
    assert heads <= 8
    assert asked("s3://nine@nine-bucket/d0/rep[1].ndjson")[:2] == ([b"7\n"], 1)
    assert asked(ObjectStoragePath("s3://nine-bucket/d0/rep[1].ndjson", conn_id="nine"))[0] == [b"7\n"]
    with pytest.raises(EmptySourceError, match=r"s3://nine-bucket/empty/\*"):
        read("s3://nine@nine-bucket/empty/*")
    with pytest.raises(SourceError, match=r"s3://nine-bucket/d0 is a folder, not a file; .*/d0/\*\.ndjson"):
        read("s3://nine@nine-bucket/d0")
    with pytest.raises(SourceError, match=r"s3://none/.* cannot be read|s3://none/a does not exist"):
        read("s3://nine@none/a")


@pytest.mark.parametrize("status", [403, 503])
def test_a_prefix_of_s3_that_cannot_be_listed_is_an_error(s3, monkeypatch, status):
    for day in "12":
        s3.put_object(Bucket="nine-bucket", Key=f"dt={day}/part.ndjson", Body=b"1\n")
    call = AioBaseClient._make_api_call

    async def failing(self, operation, arguments):
        if arguments.get("Prefix") == "dt=2/":
            raise PermissionError("Forbidden") if status == 403 else OSError(5, "Slow Down")
        return await call(self, operation, arguments)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", failing)
    with pytest.raises(SourceError, match="s3://nine-bucket/dt=2 "):
        source_files("s3://nine@nine-bucket/dt=*/part.ndjson")
    with pytest.raises(SourceError):
        source_exists("s3://nine@nine-bucket/dt=*/part.ndjson")


def test_an_s3_object_with_an_encoding_is_called_gzip(s3):
    s3.put_object(Bucket="nine-bucket", Key="a.ndjson", Body=gzip.compress(b"1\n"), ContentEncoding="gzip")
    with pytest.raises(SourceError, match=r"s3://nine-bucket/a\.ndjson, line 1: it is gzip"):
        read("s3://nine@nine-bucket/a.ndjson")


def test_an_object_that_is_replaced_while_it_is_waiting_is_an_error(s3):
    s3.put_object(Bucket="nine-bucket", Key="a.ndjson", Body=b"1\n")
    files = Files(source_files("s3://nine@nine-bucket/a.ndjson"))
    s3.put_object(Bucket="nine-bucket", Key="a.ndjson", Body=b"2\n3\n")
    with pytest.raises(SourceError, match="cannot be read"):
        list(files.read(START, lambda: None))


def test_the_report_holds_the_first_100_sources_and_their_number(emulator, tmp_path):
    for n in range(120):
        (tmp_path / f"{n:03}.ndjson").write_text(ndjson(vectors(f"v{n}")))
    report = VectorizeHook().upsert(INDEX, source=f"{tmp_path}/*.ndjson")
    assert (len(report.sources), report.source_count, report.accepted) == (100, 120, 120)
    assert report.to_dict()["source_count"] == 120
    assert os.path.basename(report.sources[0]) == "000.ndjson"  # noqa: PTH119  # a URI


@pytest.mark.parametrize(
    ("call", "given", "says"),
    [
        ("export", {"output_path": "None"}, "output_path is 'None'"),
        ("export", {"output_path": "/nowhere", "id_prefix": "None"}, "id_prefix is 'None'"),
        ("query", {"vector": [1.0], "namespace": "None"}, "namespace is 'None'"),
        ("delete", {"source": "None"}, "source is 'None'"),
        ("delete", {"ids": ["a"], "rejects_path": "['/a']"}, "rejects_path is"),
    ],
)
def test_what_a_template_leaves_is_refused_by_whatever_the_hook_does(emulator, call, given, says):
    with pytest.raises(InvalidArgumentError, match=says):
        getattr(VectorizeHook(), call)("docs", **given)
