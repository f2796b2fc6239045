"""Saving an index: what is in the parts, and what becomes of a folder that is not empty."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import textwrap
import threading
import time

import fsspec
import numpy as np
import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import IngestAbortedError, OutputError
from airflow_provider_vectorize.index.export import Owner, export
from airflow_provider_vectorize.index.files import Folder
from airflow_provider_vectorize.index.pace import Pace
from airflow_provider_vectorize.ingest import ingest

FAST = 12_000


def record(number):
    values = np.random.default_rng(number).standard_normal(32).astype(np.float32).tolist()
    made = {"id": f"{'ab'[number % 2]}-{number:05}", "values": values}
    if number % 3:
        made |= {"namespace": f"n{number % 3}", "metadata": {"n": number, "t": "é", "deep": {"l": ["x"]}}}
    return made


@pytest.fixture
def held(emulator, client):
    emulator.create_index("docs", dimensions=32, metric="cosine")
    records = [record(number) for number in range(250)]
    ingest(client, "docs", records)
    emulator.clear_log()
    return {each["id"]: each for each in records}


@pytest.fixture
def folder(tmp_path):
    return Folder(fsspec.filesystem("file"), str(tmp_path / "out"), "out")


def run(client, folder, stop=None, pace=None, **kwargs):
    kwargs = {"part_vectors": 100} | kwargs
    return export(client, "docs", folder, pace or Pace(FAST, stop or threading.Event()), **kwargs)


def saved(tmp_path):
    found = []
    for path in sorted((tmp_path / "out").glob("part-*.ndjson.gz")):
        found += [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for each in found:
        each["values"] = np.array(each["values"], np.float32).tolist()
    return found


class Interrupted(Pace):
    """Ends before a certain request, as a kill would."""

    def __init__(self, at):
        super().__init__(FAST, threading.Event())
        self.left = at

    def __call__(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        super().__call__()


class TestWhatIsSaved:
    def test_all_of_it_once_as_it_is(self, client, held, folder, tmp_path):
        report = run(client, folder)
        found = saved(tmp_path)
        assert len(found) == 250
        assert {each["id"]: each for each in found} == held
        assert (report.vectors, report.parts, report.listed, report.missing) == (250, 3, 250, 0)
        names = sorted(each.name for each in (tmp_path / "out").iterdir())
        assert names == ["_export.json"] + [f"part-00000{n}.ndjson.gz" for n in (1, 2, 3)]
        assert report.source == "out/part-*.ndjson.gz"

    def test_it_asks_as_little_as_it_can(self, emulator, client, held, folder):
        run(client, folder)
        requests = [row["operation"] for row in emulator.log()]
        assert requests.count("list_vectors") == 1
        assert requests.count("get_by_ids") == 13  # 5, 5 and 3

    def test_the_ids_with_a_prefix(self, client, held, folder, tmp_path):
        assert run(client, folder, id_prefix="a-").vectors == 125
        assert all(each["id"].startswith("a-") for each in saved(tmp_path))

    def test_some_ids_and_those_that_are_gone_are_named(self, client, held, folder, tmp_path, caplog):
        report = run(client, folder, ids=["a-00002", "gone", "b-00001", "a-00002"])
        assert [each["id"] for each in saved(tmp_path)] == ["a-00002", "b-00001"]
        assert (report.listed, report.vectors, report.missing, report.missing_ids) == (3, 2, 1, ("gone",))
        assert "1 of the 3 vectors were not in the index (any more): gone" in caplog.text

    def test_an_empty_index(self, emulator, client, folder, tmp_path):
        emulator.create_index("docs", dimensions=32, metric="cosine")
        assert run(client, folder).vectors == 0
        assert saved(tmp_path) == []

    def test_bits_of_every_float32(self, emulator, client, folder, tmp_path):
        emulator.create_index("docs", dimensions=32, metric="cosine")
        bits = np.random.default_rng(1).integers(0, 2**32, 40 * 32, dtype=np.uint32)
        bits[:4] = [0x15AE43FD, 0x95AE43FD, 1, 0x80000000]
        floats = bits.view(np.float32)
        floats = np.where(np.isfinite(floats), floats, np.float32(0.5)).reshape(40, 32)
        ingest(client, "docs", [{"id": f"v{n:02}", "values": row} for n, row in enumerate(floats)])
        run(client, folder)
        again = np.array(
            [np.array(each["values"], np.float32) for each in sorted(saved(tmp_path), key=lambda r: r["id"])]
        )
        assert (again.view(np.uint32) == floats.view(np.uint32)).all()

    def test_the_log_says_at_the_start_what_it_takes(self, client, held, folder, caplog):
        caplog.set_level("INFO")
        run(client, folder)
        assert "250 vectors take 14 requests, less than a minute at this pace" in caplog.text
        assert "The list is a snapshot of now" in caplog.text


class TestGoingOn:
    @pytest.mark.parametrize("at", [*range(0, 20, 3), 19])
    def test_wherever_it_is_cut_it_goes_on_with_no_vector_twice_or_missing(
        self, client, held, folder, tmp_path, at
    ):
        with pytest.raises(KeyboardInterrupt):
            run(client, folder, pace=Interrupted(at % 18))
        report = run(client, folder)
        found = [each["id"] for each in saved(tmp_path)]
        assert sorted(found) == sorted(held)
        assert report.vectors == 250
        assert sorted(each.name for each in (tmp_path / "out").iterdir())[0] == "_export.json"

    def test_what_is_written_between_two_tries_changes_nothing_of_the_list(
        self, client, held, folder, tmp_path
    ):
        with pytest.raises(KeyboardInterrupt):
            run(client, folder, pace=Interrupted(10))
        client.delete_by_ids("docs", ["a-00248"])
        ingest(client, "docs", [record(1000)])
        report = run(client, folder)
        assert report.resumed_from == 1
        assert sorted(each["id"] for each in saved(tmp_path)) == sorted(held.keys() - {"a-00248"})
        assert report.missing_ids == ("a-00248",)

    @pytest.mark.parametrize("change", ["gone", "cut"])
    def test_a_list_of_ids_that_was_lost_between_two_tries_is_no_shorter_export(
        self, client, held, folder, tmp_path, change
    ):
        with pytest.raises(KeyboardInterrupt):
            run(client, folder, pace=Interrupted(10))
        [listed] = (tmp_path / "out" / "_ids").glob("*-000002.json.gz")
        if change == "gone":
            listed.unlink()
        else:
            listed.write_bytes(listed.read_bytes()[:20])
        says = {"gone": r"_ids/.* is gone, .* part 2. Give an empty folder", "cut": r"_ids/.* cannot be read"}
        with pytest.raises(OutputError, match=says[change]):
            run(client, folder)

    def test_killed_by_sigkill(self, emulator, client, held, folder, tmp_path):
        code = textwrap.dedent(f"""
            import threading, fsspec
            from airflow_provider_vectorize.client import VectorizeClient
            from airflow_provider_vectorize.index.export import export
            from airflow_provider_vectorize.index.files import Folder
            from airflow_provider_vectorize.index.pace import Pace

            class Slow(VectorizeClient):
                def get_by_ids(self, *args):
                    threading.Event().wait(0.02)
                    return super().get_by_ids(*args)

            client = Slow({emulator.account!r}, {emulator.token!r}, base_url={emulator.url!r})
            folder = Folder(fsspec.filesystem("file"), {str(tmp_path / "out")!r}, "out")
            export(client, "docs", folder, Pace({FAST}, threading.Event()), part_vectors=20)
        """)
        process = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 60
        while not (tmp_path / "out" / "part-000003.ndjson.gz").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -9
        report = run(client, folder, part_vectors=20)
        assert report.resumed_from >= 2
        assert sorted(each["id"] for each in saved(tmp_path)) == sorted(held)

    def test_told_to_stop(self, client, held, folder):
        stop = threading.Event()
        stop.set()
        with pytest.raises(IngestAbortedError):
            run(client, folder, stop=stop)

    def test_a_read_that_goes_back_for_a_moment_loses_nothing(self, emulator, held, folder, tmp_path):
        class Forgetful(VectorizeClient):
            seen = 0

            def get_by_ids(self, *args):
                self.seen += 1
                return super().get_by_ids(*args)[:: 2 if self.seen <= 13 else 1]

        client = Forgetful(emulator.account, emulator.token, base_url=emulator.url)
        assert run(client, folder, part_vectors=250).vectors == 250


class TestAFolderThatIsNotEmpty:
    TASK = Owner("dag/run/task/-1", 1)

    def test_a_whole_export_is_never_overwritten_by_hand(self, client, held, folder, tmp_path):
        run(client, folder)
        with pytest.raises(
            OutputError, match="out cannot take this export: it holds a whole export, listed at 20"
        ) as e:
            run(client, folder)
        assert e.value.permanent
        assert len(saved(tmp_path)) == 250

    def test_nor_by_another_task(self, client, held, folder):
        run(client, folder, owner=self.TASK)
        with pytest.raises(OutputError, match="it holds a whole export"):
            run(client, folder, owner=Owner("dag/other run/task/-1", 1))

    def test_a_retry_of_the_task_gives_its_report(self, emulator, client, held, folder):
        first = run(client, folder, owner=self.TASK)
        emulator.clear_log()
        again = run(client, folder, owner=self.TASK)
        assert (again.vectors, again.listed_at) == (first.vectors, first.listed_at)
        assert [row["operation"] for row in emulator.log()] == ["get_index"]

    def test_cleared_the_task_begins_again(self, client, held, folder, tmp_path):
        run(client, folder, owner=self.TASK)
        client.delete_by_ids("docs", list(held)[100:])
        assert run(client, folder, owner=Owner(self.TASK.task, 2)).parts == 1
        assert len(saved(tmp_path)) == 100

    def test_what_another_did_not_finish_is_begun_again(self, client, held, folder, tmp_path, caplog):
        with pytest.raises(KeyboardInterrupt):
            run(client, folder, owner=self.TASK, pace=Interrupted(10))
        report = run(client, folder, owner=Owner("dag/other run/task/-1", 1))
        assert report.resumed_from == 0
        assert "was made by dag/run/task/-1, and is not finished" in caplog.text
        assert sorted(each["id"] for each in saved(tmp_path)) == sorted(held)

    def test_who_was_overtaken_gives_up_and_leaves_nothing(self, client, held, folder, tmp_path):
        class Overtaking(Pace):
            count = 0

            def __call__(self):
                self.count += 1
                if self.count == 10:
                    run(client, folder, owner=Owner("dag/other run/task/-1", 1))
                super().__call__()

        pace = Overtaking(FAST, threading.Event())
        with pytest.raises(OutputError, match="Another export has begun in out meanwhile"):
            run(client, folder, owner=self.TASK, pace=pace)
        assert sorted(each["id"] for each in saved(tmp_path)) == sorted(held)

    @pytest.mark.parametrize("change", [{"id_prefix": "a"}, {"ids": ["a"]}, {"format": "parquet"}])
    def test_an_export_of_something_else_is_refused(self, client, held, folder, change):
        with pytest.raises(KeyboardInterrupt):
            run(client, folder, pace=Interrupted(10))
        with pytest.raises(OutputError, match="it holds an export of something else"):
            run(client, folder, **change)

    def test_an_index_that_was_made_anew_is_something_else(self, emulator, client, held, folder):
        with pytest.raises(KeyboardInterrupt):
            run(client, folder, pace=Interrupted(10))
        client.delete_index("docs")
        emulator.create_index("docs", dimensions=32, metric="cosine")
        with pytest.raises(OutputError, match="it holds an export of something else"):
            run(client, folder)

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("part-000001.ndjson.gz", "it holds part-000001.ndjson.gz, and no note of an export"),
            ("_export.json", "is not one"),
        ],
    )
    def test_files_of_others_are_refused(self, client, held, folder, tmp_path, name, says):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).write_text("[]")
        with pytest.raises(OutputError, match=says):
            run(client, folder)
        assert (tmp_path / "out" / name).read_text() == "[]"


def test_parts_of_parquet(client, held, folder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    report = run(client, folder, format="parquet")
    assert report.source == "out/part-*.parquet"
    table = parquet.read_table(tmp_path / "out" / "part-000001.parquet")
    assert table.schema.field("values").type.list_size == 32
    for row in table.to_pylist():
        expected = held[row["id"]]
        assert row["values"] == expected["values"]
        assert row["namespace"] == expected.get("namespace")
        assert (None if row["metadata"] is None else json.loads(row["metadata"])) == expected.get("metadata")
