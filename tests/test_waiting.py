"""One look after another, as poke mode, reschedule mode and the hook make them, on the emulator."""

from __future__ import annotations

import json

import pytest

from airflow_provider_vectorize.client import VectorizeClient, errors
from airflow_provider_vectorize.client.errors import api_error_class
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.visibility import Probe, Target, digest
from airflow_provider_vectorize.waiting import Wait

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
        assert len(emulator.log()) == 3

    def test_a_wait_that_has_read_everything_does_not_look_again(self, emulator, client):
        seen, stuck = write(client, "seen"), Target("m", probes=(Probe("never", "x"),))
        write(client, "foreign")
        emulator.clear_log()
        assert not Wait(INDEX, [seen, stuck]).look(client)
        assert len(emulator.log()) == 2

    @pytest.mark.parametrize("remembered", [True, False], ids=["poke", "reschedule"])
    def test_those_that_cannot_be_proved_do_not_hold_up_the_others(self, emulator, client, remembered):
        stuck = [Target(f"m{n}", probes=(Probe(f"never{n}", "x"),)) for n in range(45)]
        good = write(client, "good", Probe("written again since", "x"), Probe("this too", "x"))
        write(client, "foreign")
        wait = Wait(INDEX, [*stuck, good])
        for _ in range(100):
            wait.look(client)
            if good.mutation_id in wait.evidence:
                return
            if not remembered:  # each poke is a new process
                wait = Wait(INDEX, [*stuck, good])
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
