"""Real Parquet of Hugging Face datasets, Spark and dlt gives exactly the vectors of its NDJSON twin.

Run by ``make writers``: the three are no dependencies, and take a minute to start.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import numpy as np
import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook

ACCOUNT, TOKEN = "0123456789abcdef0123456789abcdef", "tok_0123456789abcdefghijklmnopqrstuvwxyz"
ROWS, DIMENSIONS = 250, 32
TENANTS = ["acme", "b c", "ö/100%=", None]
#: No float32: whoever writes them as such rounds, and whoever does not leaves that to the load.
DOUBLES = np.random.default_rng(13).standard_normal((ROWS, DIMENSIONS))
COLUMNS = {
    "id": "doc",
    "values": "embedding",
    "namespace": "tenant",
    "metadata": ["lang", "n", "share", "tags", "day"],
}


def rows(width=np.float64):
    """The rows as they are given to a library: one of them for each document."""
    return [
        {
            "doc": 10_000 + n,
            "embedding": DOUBLES[n].astype(width).tolist(),
            "tenant": TENANTS[n % len(TENANTS)],
            "lang": "日本語" if n % 3 else "en",
            "n": n,
            "share": n / 7,
            "tags": ["new", f"t{n}"],
            "day": date(2026, 1, 1 + n % 28),
        }
        for n in range(ROWS)
    ]


def twin(given):
    """The same in NDJSON, as the docs describe a record."""
    records = (
        {
            "id": str(row["doc"]),
            "values": row["embedding"],
            "metadata": {name: row[name] for name in COLUMNS["metadata"]},
        }
        | ({"namespace": row["tenant"]} if row["tenant"] else {})
        for row in given
    )
    return "".join(json.dumps(record, default=date.isoformat) + "\n" for record in records)


@pytest.fixture
def emulator(monkeypatch):
    with Emulator() as emulator:
        for name in ("docs", "twin"):
            emulator.create_index(name, dimensions=DIMENSIONS, metric="cosine")
        monkeypatch.setenv(
            "AIRFLOW_CONN_VECTORIZE_DEFAULT", f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http"
        )
        yield emulator


@pytest.fixture
def same_as_twin(emulator):
    """Load an input and its twin, and compare all that the two indexes hold."""
    client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)

    def held(index_name):
        ids = sorted(client.list_vectors(index_name))
        return [
            vector for at in range(0, ROWS, 20) for vector in client.get_by_ids(index_name, ids[at : at + 20])
        ]

    def compare(width=np.float64, columns=COLUMNS, **given):
        report = VectorizeHook().upsert("docs", columns=columns, **given)
        VectorizeHook().upsert("twin", vectors=twin(rows(width)))
        assert report.accepted == ROWS
        expected = held("twin")
        assert len(expected) == ROWS
        assert len({json.dumps(each.metadata) for each in expected}) == ROWS
        assert held("docs") == expected

    return compare


class TestDatasets:
    """Hugging Face."""

    @pytest.fixture
    def dataset(self):
        return pytest.importorskip("datasets").Dataset.from_list(rows())

    def features(self, dataset, embedding):
        from datasets import Features

        return dataset.cast(Features(dataset.features | {"embedding": embedding}))

    def test_as_it_comes(self, dataset, same_as_twin, tmp_path):
        dataset.to_parquet(tmp_path / "train.parquet")
        same_as_twin(source=f"{tmp_path}/*.parquet")

    @pytest.mark.parametrize("length", [-1, DIMENSIONS])
    @pytest.mark.parametrize("width", ["float16", "float32", "float64"])
    def test_a_feature_of_a_list_of_floats(self, dataset, same_as_twin, tmp_path, width, length):
        from datasets import Sequence, Value

        cast = self.features(dataset, Sequence(Value(width), length=length))
        cast.to_parquet(tmp_path / "train.parquet", batch_size=90)
        same_as_twin(width, source=f"{tmp_path}/train.parquet")

    def test_a_large_list(self, dataset, same_as_twin, tmp_path):
        from datasets import LargeList, Value

        self.features(dataset, LargeList(Value("float32"))).to_parquet(tmp_path / "train.parquet")
        same_as_twin(np.float32, source=f"{tmp_path}/train.parquet")

    @pytest.mark.parametrize("kind", [None, "numpy"])
    def test_the_dataset_itself_row_by_row(self, dataset, same_as_twin, kind):
        same_as_twin(vectors=dataset.with_format(kind, columns=["embedding"], output_all_columns=True))

    def test_its_batches_of_arrow(self, dataset, same_as_twin):
        same_as_twin(vectors=dataset.with_format("arrow").iter(batch_size=64))


class TestSpark:
    SCHEMA = (
        "doc bigint, embedding array<{}>, tenant string, lang string, n int, share double, "
        "tags array<string>, day date"
    )

    @pytest.mark.parametrize("width", ["float", "double"])
    def test_files_in_folders_by_a_column(self, spark, same_as_twin, tmp_path, width):
        frame = spark.createDataFrame(rows(), self.SCHEMA.format(width))
        frame.repartition(3).write.partitionBy("tenant").parquet(f"{tmp_path}/out")
        names = {path.name for path in (tmp_path / "out").glob("tenant=*")}
        assert {"tenant=acme", "tenant=__HIVE_DEFAULT_PARTITION__"} < names
        assert len(names) == len(TENANTS)
        same_as_twin({"float": np.float32}.get(width, np.float64), source=f"{tmp_path}/out/**/*.parquet")

    @pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd"])
    def test_one_folder(self, spark, same_as_twin, tmp_path, codec):
        frame = spark.createDataFrame(rows(), self.SCHEMA.format("float")).coalesce(1)
        frame.write.option("compression", codec).parquet(f"{tmp_path}/out")
        same_as_twin(np.float32, source=f"{tmp_path}/out/*")  # beside it are _SUCCESS and its checksums

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("INT96", "2026-03-01T12:30:15.123456"),  # of itself it says no zone: it is UTC
            ("TIMESTAMP_MICROS", "2026-03-01T12:30:15.123456+00:00"),
        ],
    )
    def test_a_moment_is_text(self, spark, emulator, tmp_path, kind, text):
        spark.conf.set("spark.sql.parquet.outputTimestampType", kind)
        moment = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
        frame = spark.createDataFrame(
            [("a", [0.5] * DIMENSIONS, moment)], "id string, values array<float>, at timestamp"
        )
        frame.write.parquet(f"{tmp_path}/out")
        VectorizeHook().upsert("docs", source=f"{tmp_path}/out/*.parquet", columns={"metadata": ["at"]})
        [vector] = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url).get_by_ids("docs", ["a"])
        assert vector.metadata == {"at": text}


class TestDlt:
    """It makes a table of its own of each list, unless it is told not to."""

    @pytest.fixture
    def run(self, dlt, tmp_path):
        """Run a pipeline to a folder; give the glob of its table's files."""

        def run(data, **hints):
            pipeline = dlt.pipeline(
                "chunks",
                destination=dlt.destinations.filesystem(bucket_url=f"file://{tmp_path}/out"),
                dataset_name="lake",
                pipelines_dir=str(tmp_path / "pipelines"),
            )
            pipeline.run(dlt.resource(data, name="chunks", **hints), loader_file_format="parquet")
            return f"{tmp_path}/out/lake/chunks/*.parquet"

        return run

    def test_what_it_is_told_to_leave_json_is_read_as_json(self, run, same_as_twin):
        given = [
            {name: row[name] for name in ("doc", "embedding", "tenant")}
            | {"metadata": {name: row[name] for name in COLUMNS["metadata"]}}
            for row in rows()
        ]
        hints = {name: {"data_type": "json"} for name in ("embedding", "metadata")}
        columns = {field: column for field, column in COLUMNS.items() if field != "metadata"}
        same_as_twin(columns=columns, source=run(given, columns=hints))

    @pytest.mark.parametrize("width", [np.float32, np.float64])
    def test_a_table_of_arrow_keeps_its_lists(self, run, same_as_twin, width):
        arrow = pytest.importorskip("pyarrow")
        same_as_twin(width, source=run(arrow.Table.from_pylist(rows(width))))

    def test_a_list_that_became_a_table_is_named_as_missing(self, run, emulator, tmp_path):
        source = run(rows()[:3])
        assert list((tmp_path / "out" / "lake" / "chunks__embedding").glob("*.parquet"))
        with pytest.raises(InvalidArgumentError, match="there is no column 'embedding'"):
            VectorizeHook().upsert("docs", source=source, columns=COLUMNS | {"metadata": ["n"]})
