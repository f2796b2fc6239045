"""The checks that compare two services: run on two emulators here, on the emulator and the service by request."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from airflow_provider_vectorize.emulator import Emulator
from tests.contract import congruence
from tests.contract.checks import CHECKS
from tests.contract.congruence import Difference, compare, differences, table
from tests.contract.service import LIVE, emulated, live, missing

FAST = ("delay", 0.05)


def test_two_emulators_do_not_differ() -> None:
    with Emulator(visibility=FAST) as one, Emulator(visibility=FAST) as other:
        fields, found = compare(emulated(one), emulated(other))
    assert found == []
    assert fields >= 120


def test_what_differs_is_found_field_by_field() -> None:
    changed = {
        "created_status": 201, "null_metadata": False, "ndjson_boundary": False,
        "statuses": {"duplicate_name": 409, "query_dimensions": 422},
    }  # fmt: skip
    names = [
        "an index", "refusals of a new index", "refusals of requests", "null metadata",
        "the curl command of the reference",
    ]  # fmt: skip
    with Emulator(visibility=FAST) as one, Emulator(visibility=FAST, **changed) as other:
        found = [
            difference
            for name in names
            for difference in differences(name, CHECKS[name](emulated(one)), CHECKS[name](emulated(other)))
        ]
    assert found == [
        Difference("an index", "create", "200", "201"),
        Difference("an index", "create again at once", "200", "201"),
        Difference("refusals of a new index", "a name that exists", "400, code 3002", "409, code 3002"),
        Difference("refusals of requests", "query: other dimensions", "400, code 40006", "422, code 40006"),
        Difference("refusals of requests", "query: no vector", "400, code 40006", "422, code 40006"),
        Difference("null metadata", "upsert", "200", "400, code 40023"),
        Difference("null metadata", "reads back", "{'t': None, 'u': 'x'}", "none"),
        Difference("the curl command of the reference", "upsert", "200, a mutation", "400, code 40023"),
        Difference("the curl command of the reference", "stored", "a", "none"),
    ]


def test_a_field_that_one_service_does_not_answer_differs() -> None:
    assert differences("x", {"a": "1"}, {}) == [Difference("x", "a", "1", "(not asked)")]


def test_the_table_is_dated_and_ready_for_the_docs() -> None:
    when = datetime(2026, 11, 25, tzinfo=UTC)
    assert table(7, [], when) == "Compared on 2026-11-25: 7 fields, of which 0 differ."
    assert table(7, [Difference("an index", "a|b", "200", "201")], when).splitlines() == [
        "Compared on 2026-11-25: 7 fields, of which 1 differ.",
        "",
        "| check | what | emulator | service |",
        "|---|---|---|---|",
        "| an index | a\\|b | 200 | 201 |",
    ]


def test_the_command_prints_the_table_of_what_differs_and_cleans_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Emulator(visibility=FAST, created_status=201) as other:
        monkeypatch.setattr(congruence, "live", lambda environment: emulated(other))
        monkeypatch.setattr(congruence, "CHECKS", {"an index": CHECKS["an index"]})
        for name in LIVE:
            monkeypatch.setenv(name, "x")
        assert congruence.main() == 0
        assert emulated(other).result("GET") == []
    assert "| an index | create | 200 | 201 |" in capsys.readouterr().out


def test_the_command_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in LIVE:
        monkeypatch.delenv(name, raising=False)
    assert congruence.main() == 2
    assert f"set {', '.join(LIVE)}" in capsys.readouterr().err


def test_the_emulator_and_the_service_differ_in_nothing() -> None:
    if os.environ.get("VECTORIZE_LIVE") != "1" or missing(os.environ):
        pytest.skip(f"not run against the real service: set {', '.join(LIVE)} and VECTORIZE_LIVE=1")
    service = live(os.environ)
    try:
        with Emulator(visibility=FAST) as emulator:
            fields, found = compare(emulated(emulator), service)
    finally:
        service.clean_up()
    assert found == [], table(fields, found, datetime.now(UTC))
