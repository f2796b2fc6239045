"""The simulation behind the numbers of docs/sizing.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if not (ROOT / "scripts").is_dir():
    pytest.skip("scripts are not in the sdist", allow_module_level=True)
sys.path.insert(0, str(ROOT / "scripts"))
from simulate_quota import MAX_IN_FLIGHT, Load, Simulation, by_size, by_slots  # noqa: E402


def test_below_the_quota_a_load_takes_what_its_requests_take():
    load = Load(100_000, 384, slots=1)
    simulation = Simulation(load)
    assert simulation.run() == pytest.approx(load.requests / MAX_IN_FLIGHT * load.request_seconds)
    assert simulation.refused == 0


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_no_load_is_faster_than_the_quota(slots):
    load = Load(500_000, 32, slots, batch=100)
    assert load.requests == 5_000
    simulation = Simulation(load)
    # 1,200 at once, and as many again after each 5 minutes of refusals at the earliest.
    assert simulation.run() >= (5_000 // 1_200) * 300
    assert (simulation.refused > 0) == (slots > 1)


def test_more_tasks_with_small_requests_are_slower_than_one():
    takes = {slots: Simulation(Load(1_000_000, 768, slots, batch=100)).run() for slots in (1, 2, 8)}
    assert takes[1] < takes[8] < takes[2]


def test_the_tables_of_the_page_are_those_of_the_simulation():
    page = (ROOT / "docs" / "sizing.md").read_text()
    for table in (by_size(), by_slots()):
        assert "\n".join(table) in page
