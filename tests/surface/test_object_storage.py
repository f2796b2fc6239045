"""Sources in S3, through Airflow's object storage and a connection, on moto's server."""

from __future__ import annotations

import gzip
import json
import threading

import boto3
import pytest
from moto.server import ThreadedMotoServer

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeUpsertSensor
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors

BUCKET = "embeddings"


@pytest.fixture(scope="module")
def moto_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto_server, monkeypatch):
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    connection = {
        "conn_type": "aws",
        "login": "testing",
        "password": "testing",
        "extra": {"endpoint_url": moto_server, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(connection))
    client = boto3.client("s3", endpoint_url=moto_server, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=BUCKET)
    yield client
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)


def run(kind, dag, run_dag, source, **kwargs):
    with dag:
        kind(task_id="upsert", index_name=INDEX, source=source, **kwargs)
    return run_dag(dag)


def ids(emulator):
    return sorted(VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url).list_vectors(INDEX))


@pytest.mark.parametrize("key", ["day/a.ndjson", "day/a.ndjson.gz"])
@pytest.mark.parametrize("source", ["s3://mine@embeddings/{key}", "s3://mine@embeddings/day/*"])
def test_an_object_or_a_glob(emulator, s3, dag, run_dag, key, source):
    text = ndjson(vectors("a", "b")).encode()
    s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(text) if key.endswith(".gz") else text)
    ended = run(VectorizeUpsertOperator, dag, run_dag, source.format(key=key))
    assert ended.state == "success"
    assert ids(emulator) == ["a", "b"]


def test_an_object_of_several_parts(emulator, s3, dag, run_dag):
    lines = [
        line.encode()
        for line in ndjson(vectors(*map(str, range(3_000)), metadata={"text": "x" * 4_000})).splitlines(True)
    ]
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="big.ndjson")["UploadId"]
    parts = []
    body = b"".join(lines)
    half = 6 * 1024 * 1024 + 17  # parts break within a line, and are at least 5 MiB
    for number, part in enumerate((body[:half], body[half:]), start=1):
        answer = s3.upload_part(
            Bucket=BUCKET, Key="big.ndjson", UploadId=upload, PartNumber=number, Body=part
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(
        Bucket=BUCKET, Key="big.ndjson", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    ended = run(VectorizeUpsertOperator, dag, run_dag, "s3://mine@embeddings/big.ndjson")
    assert ended.state == "success"
    assert ended.xcom("upsert", "report")["accepted"] == 3_000


def test_a_missing_object_is_named(emulator, s3, dag, run_dag):
    ended = run(VectorizeUpsertOperator, dag, run_dag, "s3://mine@embeddings/missing.ndjson")
    assert ended.state == "failed"
    assert "s3://embeddings/missing.ndjson does not exist" in ended.log


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_sensor_sees_an_object_that_arrives_later(emulator, s3, dag, run_dag, deferrable):
    body = ndjson(vectors("late")).encode()
    threading.Timer(1.0, lambda: s3.put_object(Bucket=BUCKET, Key="late/x.ndjson", Body=body)).start()
    ended = run(
        VectorizeUpsertSensor,
        dag,
        run_dag,
        "s3://mine@embeddings/late/*.ndjson",
        poke_interval=1,
        timeout=20,
        deferrable=deferrable,
    )
    assert ended.state == "success"
    assert ids(emulator) == ["late"]


def test_rejects_go_to_object_storage_too(emulator, s3, dag, run_dag):
    s3.put_object(Bucket=BUCKET, Key="in.ndjson", Body=ndjson([*vectors("a"), {"id": "bad"}]).encode())
    ended = run(
        VectorizeUpsertOperator,
        dag,
        run_dag,
        "s3://mine@embeddings/in.ndjson",
        on_invalid="reject",
        max_rejects=1,
        rejects_path="s3://mine@embeddings/rejects",
    )
    assert ended.state == "success"
    [item] = s3.list_objects_v2(Bucket=BUCKET, Prefix="rejects/")["Contents"]
    [row] = map(json.loads, s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read().splitlines())
    assert (row["line"], row["id"]) == (2, "bad")


def test_the_pieces_of_an_object(emulator, s3):
    names = [f"id-{number}" for number in range(100)]
    s3.put_object(Bucket=BUCKET, Key="big.ndjson", Body=ndjson(vectors(*names)).encode())
    pieces = VectorizeHook().split("s3://mine@embeddings/*.ndjson", parts=4)
    assert [piece["path"] for piece in pieces] == ["s3://mine@embeddings/big.ndjson"] * 4
    for piece in pieces:
        VectorizeHook().upsert(INDEX, source=piece)
    assert ids(emulator) == sorted(names)
