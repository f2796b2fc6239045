"""One look after another, as poke mode, reschedule mode and the hook make them, on the emulator."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from airflow_provider_vectorize.client import VectorizeClient, errors
from airflow_provider_vectorize.client.errors import api_error_class
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.visibility import Probe, Target, digest
from airflow_provider_vectorize.waiting import Sentinel, Wait

INDEX = "docs"


@pytest.fixture
def emulator():
    with Emulator() as emulator:
        emulator.create_index(INDEX, dimensions=32, metric="cosine")
        yield emulator


@pytest.fixture
def client(emulator):
    return VectorizeClient("0123456789abcdef0123456789abcdef", "token", base_url=emulator.url)


def write(client, id_, *probes):
    """Write a vector, and give what to wait for."""
    values = [float(len(id_) + place) for place in range(32)]
    mutation = client.upsert(INDEX, json.dumps({"id": id_, "values": values}).encode())
    return Target(mutation.id, probes=(*probes, Probe(id_, digest(values, None, None))))


def operations(emulator):
    return [row["operation"] for row in emulator.log()]


def unfenced(targets):
    wait = Wait(INDEX, targets)
    wait.fencer.refused = "not here"
    return wait


class TestFence:
    @pytest.fixture
    def unchanged(self, emulator, client):
        """Loads that nothing but a fence can prove, side by side."""
        targets = [Target(write(client, "same").mutation_id) for _ in range(10)]
        emulator.clear_log()
        return targets

    def test_one_proves_all_that_was_accepted_before(self, emulator, client, unchanged):
        wait = Wait(INDEX, unchanged)
        assert not wait.look(client)
        assert wait.look(client)
        assert operations(emulator) == ["index_info", "delete_by_ids", "index_info"]
        assert set(wait.evidence) == {target.mutation_id for target in unchanged}

    def test_it_changes_nothing(self, emulator, client, unchanged):
        before = client.index_info(INDEX).vector_count
        Wait(INDEX, unchanged).look(client)
        assert client.index_info(INDEX).vector_count == before
        assert list(client.list_vectors(INDEX)) == ["same"]

    def test_it_is_written_anew_once_in_three_looks(self, emulator, client, unchanged):
        emulator.set_visibility("manual")
        wait = Wait(INDEX, unchanged)
        for _ in range(30):
            wait.look(client)
        assert operations(emulator).count("delete_by_ids") == 10
        written = [n for n, each in enumerate(operations(emulator)) if each == "delete_by_ids"]
        assert len({later - earlier for earlier, later in pairwise(written)}) > 1, "in step with itself"

    @pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "reset"}], ids=str)
    def test_one_that_fails_is_written_again_later(self, emulator, client, unchanged, fault):
        emulator.add_faults([{"operation": "delete_by_ids", "times": 1, **fault}])
        wait = Wait(INDEX, unchanged)
        patient = VectorizeClient(client.account_id, "token", base_url=emulator.url, max_attempts=1)
        assert any(wait.look(patient) for _ in range(8))

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_one_that_is_refused_is_said_once_and_the_wait_goes_on_without(
        self, emulator, client, unchanged, status, caplog
    ):
        emulator.add_faults([{"operation": "delete_by_ids", "times": 99, "kind": "status", "status": status}])
        wait = Wait(INDEX, unchanged)
        for _ in range(8):
            assert not wait.look(client)
        assert caplog.text.count("no fence can be written") == 1
        assert operations(emulator).count("delete_by_ids") == 1
        assert "No fence could be written to prove it by" in str(wait.timed_out(1))

    def test_a_new_index_that_has_applied_nothing_gets_none(self, emulator, client):
        emulator.set_visibility("manual")
        target = write(client, "a")
        wait = Wait(INDEX, [target])
        assert not wait.look(client)
        assert "delete_by_ids" not in operations(emulator)


class TestSentinel:
    def wait(self, *targets, owner="dag/run/task/-1"):
        return Wait(INDEX, targets, sentinel=Sentinel.of(owner, targets))

    @pytest.fixture
    def busy(self, emulator, client):
        """An index that another writes to before every look."""

        class Busy(VectorizeClient):
            def index_info(self, index_name):
                write(client, "foreign")
                return super().index_info(index_name)

        return Busy(client.account_id, "token", base_url=emulator.url)

    def test_it_proves_what_no_fence_can_beside_another_writer(self, emulator, client, busy):
        target = Target(write(client, "same").mutation_id)
        fenced = Wait(INDEX, [target])
        assert not any(fenced.look(busy) for _ in range(10))
        wait = self.wait(target)
        assert not wait.look(busy)
        assert wait.look(busy)
        assert "the sentinel" in wait.evidence[target.mutation_id]

    def test_whoever_waits_for_the_same_writes_knows_it_again(self, emulator, client, busy):
        targets = [Target(write(client, "same").mutation_id) for _ in range(3)]
        self.wait(*targets).look(busy)
        another_process = self.wait(*reversed(targets))
        assert another_process.look(busy)

    def test_one_of_an_earlier_wait_proves_nothing(self, emulator, client, busy):
        self.wait(Target(write(client, "same").mutation_id)).look(busy)
        emulator.set_visibility("manual")
        later = self.wait(Target(write(client, "same").mutation_id))
        assert not any(later.look(busy) for _ in range(4))

    def test_the_same_owner_has_the_same_id(self):
        one, other = (self.wait(Target(mutation)).sentinel for mutation in ("m1", "m2"))
        assert (one.id == other.id, one.mark == other.mark) == (True, False)
        assert len(one.id.encode()) <= 64
        assert self.wait(Target("m1"), owner="another").sentinel.id != one.id


class TestMoreThanOneLookReads:
    def test_a_wait_looks_again_at_once_as_long_as_it_finds_proofs(self, emulator, client):
        targets = [write(client, f"v{n}") for n in range(60)]
        write(client, "foreign")  # its watermark proves nothing
        emulator.clear_log()
        assert Wait(INDEX, targets).look(client)
        assert [row["operation"] for row in emulator.log()].count("index_info") == 2

    def test_a_wait_that_finds_none_looks_once(self, emulator, client):
        emulator.set_visibility("manual")
        targets = [write(client, f"v{n}") for n in range(60)]
        emulator.clear_log()
        assert not Wait(INDEX, targets).look(client)
        assert operations(emulator) == ["index_info", "get_by_ids", "get_by_ids"]

    def test_a_wait_that_has_read_everything_does_not_look_again(self, emulator, client):
        seen, stuck = write(client, "seen"), Target("m", probes=(Probe("never", "x"),))
        write(client, "foreign")
        emulator.clear_log()
        assert not Wait(INDEX, [seen, stuck]).look(client)
        assert operations(emulator) == ["index_info", "get_by_ids", "delete_by_ids"]

    @pytest.mark.parametrize("remembered", [True, False], ids=["poke", "reschedule"])
    def test_those_that_cannot_be_proved_do_not_hold_up_the_others(self, emulator, client, remembered):
        stuck = [Target(f"m{n}", probes=(Probe(f"never{n}", "x"),)) for n in range(45)]
        good = write(client, "good", Probe("written again since", "x"), Probe("this too", "x"))
        write(client, "foreign")
        wait = unfenced([*stuck, good])
        for _ in range(100):
            wait.look(client)
            if good.mutation_id in wait.evidence:
                return
            if not remembered:  # each poke is a new process
                wait = unfenced([*stuck, good])
        pytest.fail("the one that can be proved was not seen in 100 looks")


class Failing:
    """A client whose every call fails."""

    def __init__(self, error):
        self.error = error

    def index_info(self, index_name):
        raise self.error


class TestALookThatFails:
    @pytest.mark.parametrize(
        "error",
        [api_error_class(status, None)("x", status=status) for status in (200, 302, 408, 429, 500, 503)]
        + [errors.TransportError("x"), errors.TransportError("certificate", transient=False)],
        ids=repr,
    )
    def test_says_nothing_and_the_deadline_names_it(self, error):
        wait = Wait(INDEX, [Target("m")])
        assert not wait.look(Failing(error))
        assert f"The last look failed: {error}" in str(wait.timed_out(1))

    @pytest.mark.parametrize(
        "error",
        [
            api_error_class(status, code)("x", status=status)
            for status, code in ((400, None), (401, None), (403, None), (404, 3000), (410, 3005), (404, 7003))
        ]
        + [errors.InvalidArgumentError("x")],
        ids=repr,
    )
    def test_for_good_ends_the_wait(self, error):
        with pytest.raises(type(error)):
            Wait(INDEX, [Target("m")]).look(Failing(error))
