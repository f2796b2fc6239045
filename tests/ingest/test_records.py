"""Checks and compaction of one record."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.ingest.records import Checker, FlawError
from tests.ingest.helpers import DIMENSIONS, ndjson, record


def checker(*, namespace=None, compact=True, max_bytes=100_000_000, dimensions=DIMENSIONS):
    return Checker(dimensions, namespace=namespace, compact=compact, max_bytes=max_bytes)


def line(**fields):
    return ndjson([record(1, **fields)])


def values(*first):
    return [*first, *[0.5] * (DIMENSIONS - len(first))]


def text_line(first: str) -> bytes:
    """A line whose first value is this text."""
    return b'{"id":"a","values":[' + first.encode() + b",0.5" * (DIMENSIONS - 1) + b"]}\n"


EURO = "€"  # 3 bytes

GOOD = {
    "an id of 64 bytes": {"id": "x" * 64},
    "an id of 64 bytes in 22 characters": {"id": EURO * 21 + "x"},
    "a namespace of 64 bytes": {"namespace": "n" * 64},
    "no namespace": {"namespace": None},
    "no metadata": {"metadata": None},
    "metadata of 10,240 bytes": {"metadata": {"k": "x" * (10_240 - 8)}},
    "metadata of 10,240 bytes in 3,416 characters": {"metadata": {"k": EURO * 3_410 + "xx"}},
    "every kind of metadata": {
        "metadata": {"a": "x", "b": 1, "c": 1.5, "d": True, "e": ["x", "y"], "f": {"g": 2}}
    },
    "a $ and spaces inside a key": {"metadata": {"a$ b": 1}},
    "the largest float32": {"values": values(3.4028234663852886e38)},
    "what rounds to the largest float32": {"values": values(3.4028235677973362e38)},
    "integers": {"values": [1] * DIMENSIONS},
    "what underflows": {"values": values(1e-300)},
}

BAD = {
    "an id of 65 bytes": ({"id": "x" * 65}, "id_too_long"),
    "an id of 65 bytes in 23 characters": ({"id": EURO * 21 + "xx"}, "id_too_long"),
    "no id": ({"id": None}, "invalid_id"),
    "an empty id": ({"id": ""}, "invalid_id"),
    "a number as id": ({"id": 7}, "invalid_id"),
    "a namespace of 65 bytes": ({"namespace": "n" * 65}, "namespace_too_long"),
    "a namespace of 65 bytes in 23 characters": ({"namespace": EURO * 21 + "xx"}, "namespace_too_long"),
    "a number as namespace": ({"namespace": 7}, "invalid_namespace"),
    "metadata of 10,241 bytes": ({"metadata": {"k": "x" * (10_241 - 8)}}, "metadata_too_large"),
    "metadata of 10,241 bytes in 3,417 characters": (
        {"metadata": {"k": EURO * 3_410 + "xxx"}},
        "metadata_too_large",
    ),
    "a list as metadata": ({"metadata": ["x"]}, "invalid_metadata"),
    "an empty key": ({"metadata": {"": 1}}, "invalid_metadata_key"),
    "a dot in a key": ({"metadata": {"a.b": 1}}, "invalid_metadata_key"),
    "a quote in a key": ({"metadata": {'a"b': 1}}, "invalid_metadata_key"),
    "a key that starts with $": ({"metadata": {"$a": 1}}, "invalid_metadata_key"),
    "a bad key further in": ({"metadata": {"a": {"b": {"c.d": 1}}}}, "invalid_metadata_key"),
    "null in metadata": ({"metadata": {"a": None}}, "invalid_metadata_value"),
    "a list of numbers in metadata": ({"metadata": {"a": [1]}}, "invalid_metadata_value"),
    "a list of lists in metadata": ({"metadata": {"a": [["x"]]}}, "invalid_metadata_value"),
    "one value too few": ({"values": [0.5] * (DIMENSIONS - 1)}, "wrong_dimensions"),
    "one value too many": ({"values": [0.5] * (DIMENSIONS + 1)}, "wrong_dimensions"),
    "no values in the list": ({"values": []}, "wrong_dimensions"),
    "no values": ({"values": None}, "invalid_values"),
    "text as values": ({"values": "0.5"}, "invalid_values"),
    "text as a value": ({"values": values("1.5")}, "invalid_values"),
    "true as a value": ({"values": values(True)}, "invalid_values"),
    "false as a value": ({"values": values(False)}, "invalid_values"),
    "null as a value": ({"values": values(None)}, "invalid_values"),
    "a list as a value": ({"values": values([1.5])}, "invalid_values"),
    "an object as a value": ({"values": values({})}, "invalid_values"),
    "1e39": ({"values": values(1e39)}, "not_finite"),
    "-1e39": ({"values": values(-1e39)}, "not_finite"),
    "1e39 in digits": ({"values": values(10**39)}, "not_finite"),
    "the first that rounds beyond float32": ({"values": values(3.4028235677973366e38)}, "not_finite"),
}


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("fields", GOOD.values(), ids=GOOD)
def test_what_keeps_the_limits_passes_as_line_and_as_mapping(fields, compact):
    expected = record(1, **fields)
    for data in (line(**fields), record(1, **fields)):
        checked = checker(compact=compact).check(data)
        sent = json.loads(checked.line)
        assert checked.id == expected["id"] == sent["id"]
        assert checked.line.count(b"\n") == 1
        for field in ("namespace", "metadata"):
            assert sent.get(field) == expected.get(field)
        assert struct.pack("<32f", *sent["values"]) == struct.pack("<32f", *expected["values"])


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(("fields", "code"), BAD.values(), ids=BAD)
def test_what_breaks_a_limit_is_refused_as_line_and_as_mapping(fields, code, compact):
    for data in (line(**fields), record(1, **fields)):
        with pytest.raises(FlawError) as caught:
            checker(compact=compact).check(data)
        assert caught.value.code == code
        assert len(caught.value.reason) < 300


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"nothing\n", "not_json"),
        (b'{"id":"a","values":[1,2\n', "not_json"),
        (text_line("NaN"), "not_json"),
        (text_line("Infinity"), "not_json"),
        (text_line("1.2.3"), "not_json"),
        (text_line("01"), "not_json"),
        (text_line("1e999"), "not_json"),
        (b'{"id":"a\xff","values":[1]}\n', "not_utf8"),
        (b'{"id":"a","values":[1],"metadata":{"k":"\xff"}}\n', "not_utf8"),
        (b'{"id":"\xed\xa0\x80","values":[1]}\n', "not_utf8"),
        (b'{"id":"\\ud800","values":[1]}\n', "not_json"),
        (b"[1]\n", "not_an_object"),
        (b"null\n", "not_an_object"),
        (b'"text"\n', "not_an_object"),
        (b'{"id":"a","values":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "not_json"),
        (text_line("1E39"), "not_finite"),
        (text_line("1e+39"), "not_finite"),
        (text_line("1" + "0" * 39), "not_finite"),
        (text_line("1" + "0" * 39 + ".5"), "not_finite"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_faulty_line_is_refused(data, code, compact):
    with pytest.raises(FlawError) as caught:
        checker(compact=compact).check(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"values": values(math.nan)}, "not_finite"),
        ({"values": values(math.inf)}, "not_finite"),
        ({"values": np.full(DIMENSIONS, np.nan)}, "not_finite"),
        ({"values": np.full(DIMENSIONS, 1e39)}, "not_finite"),
        ({"values": np.full(DIMENSIONS, True)}, "invalid_values"),
        ({"values": np.full(DIMENSIONS, "1.5")}, "invalid_values"),
        ({"values": np.full((DIMENSIONS, 1), 0.5)}, "invalid_values"),
        ({"values": np.full(DIMENSIONS, None)}, "invalid_values"),
        ({"values": values(np.bool_(True))}, "invalid_values"),
        ({"values": values(10**400)}, "not_finite"),
        ({"values": {0.5}}, "invalid_values"),
        ({"id": "\ud800"}, "not_utf8"),
        ({"namespace": "\ud800"}, "not_utf8"),
        ({"metadata": {"a": math.nan}}, "invalid_metadata_value"),
        ({"metadata": {1: "a"}}, "invalid_metadata"),
        ({"metadata": {"a": object()}}, "invalid_metadata"),
        ({"metadata": {"a": 2**70}}, "invalid_metadata"),
        pytest.param({"extra": object()}, "not_json", id="extra-not_json"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_only_python_can_hold_is_refused(fields, code):
    with pytest.raises(FlawError) as caught:
        checker().check(record(1, **fields))
    assert caught.value.code == code


def test_metadata_that_contains_itself_is_refused():
    loop: dict = {}
    loop["a"] = loop
    with pytest.raises(FlawError) as caught:
        checker().check(record(1, metadata=loop))
    assert caught.value.code == "invalid_metadata"


@pytest.mark.parametrize("data", [None, 7, "text", ["a"]])
def test_an_item_that_is_no_mapping_is_refused(data):
    with pytest.raises(FlawError) as caught:
        checker().check(data)
    assert caught.value.code == "not_an_object"


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(
    "kind", ["<f2", "<f4", "<f8", ">f8", "<i4", "<u8", "list", "tuple", "scalars", "strided"]
)
def test_values_may_be_lists_tuples_and_arrays(kind, compact):
    numbers = np.arange(DIMENSIONS, dtype="<f4") / 8 if "f" in kind else np.arange(DIMENSIONS, dtype="<f4")
    given = {
        "list": numbers.tolist,
        "tuple": lambda: tuple(numbers.tolist()),
        "scalars": lambda: list(numbers),
        "strided": lambda: np.repeat(numbers, 2)[::2],
    }.get(kind, lambda: numbers.astype(kind))()
    checked = checker(compact=compact).check({"id": "a", "values": given})
    assert json.loads(checked.line)["values"] == numbers.tolist()


def test_a_mapping_is_not_changed():
    given = record(1, namespace=None)
    before = dict(given)
    checker(namespace="n").check(given)
    assert given == before


def test_a_flaw_tells_the_id_of_its_record():
    with pytest.raises(FlawError) as caught:
        checker().check(line(values=[1]))
    assert caught.value.record_id == "id-1"


@pytest.mark.parametrize("compact", [True, False])
def test_a_namespace_is_given_to_records_that_have_none(compact):
    given = checker(namespace="ours", compact=compact)
    assert json.loads(given.check(line()).line)["namespace"] == "ours"
    assert json.loads(given.check(line(namespace=None)).line)["namespace"] == "ours"
    assert json.loads(given.check(line(namespace="ours")).line)["namespace"] == "ours"
    with pytest.raises(FlawError) as caught:
        given.check(line(namespace="theirs"))
    assert caught.value.code == "namespace_conflict"


def test_of_a_key_that_comes_twice_the_last_one_counts():
    twice = line(id="last").replace(b'{"id"', b'{"id":"first","id"', 1)
    assert checker().check(twice).id == "last"
    assert checker(compact=False).check(twice).id == "last"


def test_a_record_longer_than_a_request_is_refused():
    whole = checker().check(line()).line
    assert checker(max_bytes=len(whole)).check(line()).line == whole
    with pytest.raises(FlawError) as caught:
        checker(max_bytes=len(whole) - 1).check(line())
    assert caught.value.code == "record_too_large"


def test_without_compaction_a_line_passes_as_it_is():
    given = b' {"values" : [' + b"0.10000000000000000, " * (DIMENSIONS - 1) + b'1e-7] , "id":"a" }\n'
    assert checker(compact=False).check(given).line == given
    assert len(checker().check(given).line) < len(given)


def test_fields_that_the_api_does_not_document_are_sent_and_noted():
    for compact in (True, False):
        given = checker(compact=compact)
        assert json.loads(given.check(line(text="abc")).line)["text"] == "abc"
        assert given.undocumented == {"text"}


def test_a_line_of_a_rejects_folder_stands_for_the_record_in_it():
    note = {"source": "s", "line": 3, "id": None, "code": "not_json", "reason": "..."}
    assert checker().check(ndjson([note | {"record": record(5)}])).id == "id-5"
    assert checker(compact=False).check(ndjson([note | {"record": json.dumps(record(6))}])).id == "id-6"
    with pytest.raises(FlawError) as caught:
        checker().check(ndjson([note | {"record": None}]))
    assert caught.value.code == "not_an_object"


# Compaction


def sent_as_float32(numbers: list[float]) -> bytes:
    dimensions = len(numbers)
    sent = checker(dimensions=dimensions).check({"id": "a", "values": numbers})
    return struct.pack(f"<{dimensions}f", *json.loads(sent.line)["values"])


finite_float32 = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(0, 0x7F7FFFFF).map(lambda bits: struct.unpack("<f", struct.pack("<I", bits))[0]),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, 1.17549435e-38, 3.4028234663852886e38]),
)


@settings(deadline=None)
@given(st.lists(finite_float32, min_size=1, max_size=64))
def test_every_kind_of_float32_arrives_bit_by_bit(numbers):
    assert sent_as_float32(numbers) == struct.pack(f"<{len(numbers)}f", *numbers)


@settings(deadline=None)
@given(st.lists(st.floats(-3.4e38, 3.4e38), min_size=1, max_size=64))
def test_every_double_arrives_as_its_float32_bit_by_bit(numbers):
    assert sent_as_float32(numbers) == struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-30, 1e30])
def test_a_quarter_of_a_million_doubles_arrive_as_their_float32(scale):
    numbers = (np.random.default_rng(11).standard_normal(250_000) * scale).tolist()
    assert sent_as_float32(numbers) == struct.pack("<250000f", *numbers)


@pytest.mark.parametrize("sign", [0, 0x80000000])
def test_the_one_float32_whose_shortest_text_rounds_twice_arrives(sign):
    awkward = struct.unpack("<f", struct.pack("<I", 0x15AE43FD | sign))[0]
    shortest = orjson.loads(orjson.dumps(np.float32(awkward), option=orjson.OPT_SERIALIZE_NUMPY))
    assert struct.pack("<f", shortest) != struct.pack("<f", awkward), (
        "orjson has changed: is this still needed?"
    )
    assert sent_as_float32([awkward, 0.5]) == struct.pack("<2f", awkward, 0.5)


def test_text_of_doubles_shrinks_to_0_57():
    vector = np.random.default_rng(3).standard_normal((50, 1536))
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    lines = [ndjson([{"id": "a", "values": row.tolist()}]) for row in vector]
    given = checker(dimensions=1536)
    assert sum(len(given.check(each).line) for each in lines) <= 0.57 * sum(map(len, lines))


@pytest.mark.parametrize("field", ["id", "values", "metadata"])
def test_a_value_that_nests_deeper_than_python_can_show_is_a_flaw_like_any_other(field):
    nested = b"[" * 1_000 + b"]" * 1_000
    rest = {"id": b'"a"', "values": b"[1" + b",1" * (DIMENSIONS - 1) + b"]"} | {field: nested}
    if field == "values":
        rest["values"] = b"[" + nested + b",1" * (DIMENSIONS - 1) + b"]"
    text = b"{" + b",".join(b'"' + name.encode() + b'":' + value for name, value in rest.items()) + b"}\n"
    with pytest.raises(FlawError):  # Python 3.11 cannot show it, later ones can
        checker().check(text)
