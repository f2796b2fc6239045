"""A path, text and an iterable are read by the same rules: same verdict, same bytes, over a corpus of odd lines."""

from __future__ import annotations

import gzip
import io
import json
from itertools import product

import pytest

from airflow_provider_vectorize.client.errors import SourceError, VectorizeError
from airflow_provider_vectorize.ingest import IngestOptions, ingest
from airflow_provider_vectorize.ingest.files import expand
from tests.ingest.helpers import DIMENSIONS, FS, FakeClient, ndjson, record

VALUES = ",".join(["0.5"] * DIMENSIONS)


def line(**fields: str) -> bytes:
    """A line of these fields, as they are written."""
    given = {"id": '"?"', "values": f"[{VALUES}]"} | fields
    return ("{" + ",".join(f'"{name}":{text}' for name, text in given.items() if text) + "}").encode()


def first(text: str) -> str:
    return f"[{text},{VALUES[4:]}]"


NUMBERS = [
    "1",
    "-0",
    "0.1",
    "1e5",
    "1E5",
    "1e+5",
    "1e-400",
    "1e39",
    "1e999",
    "12345678901234567890",
    "9" * 40,
    "9" * 400,
]
NO_NUMBERS = [
    "NaN",
    "-Infinity",
    "true",
    "null",
    '"1"',
    "[1]",
    "{}",
    "01",
    "1.",
    ".5",
    "+1",
    "0x1",
    "1_0",
    "--1",
    "",
]
METADATA = [
    "{}", "null", "[]", '"x"', "1", '{"a":null}', '{"a":1}', '{"a":1.0}', '{"a":true}', '{"a":"x:y"}', '{"a":["x"]}',
    '{"a":[]}', '{"a":[1]}', '{"a":["x",null]}', '{"a":{"b":{"c":1}}}', '{"a":NaN}', '{"a":1e400}', '{"a.b":1}',
    '{"$a":1}', '{"a$":1}', '{"":1}', '{"a\\"b":1}', '{"a":9223372036854775807}', '{"a":9223372036854775808}',
    '{"a":18446744073709551615}', '{"a":18446744073709551616}', '{"a":-9223372036854775808}',
    '{"a":-9223372036854775809}', '{"a":1180591620717411303424}', '{"a":{"b":1180591620717411303424}}',
    '{"a":1e30}', '{"a":1180591620717411303424.0}', '{"a":' + "9" * 5000 + "}", '{"a":1,"a":2}', '{"a":{"b":1,"b":2}}',
    '{"a":1,"\\u0061":2}', '{"a":"\\ud800"}', '{"a":"\\u0000"}', '{"a":"\\u20ac"}', '{"a":"€"}', '{"a": "x" , "b":2 }',
    '{"k":"' + "x" * 10_232 + '"}', '{"k":"' + "x" * 10_233 + '"}', '{"a":' * 300 + "1" + "}" * 300, '{"a":"http://x/?a=1"}',
    '{"a":"a\\\\\\"b"}', '{"a[1]":1,"b[2]":2}',
]  # fmt: skip
IDS = [
    '"x"',
    '"\\u00e9"',
    '"é"',
    '""',
    "7",
    "null",
    '"' + "x" * 64 + '"',
    '"' + "x" * 65 + '"',
    '"\\ud83d\\ude00"',
    '" "',
    "[]",
    "",
]
NAMESPACES = ['"n"', "null", '""', "7", '"' + "€" * 21 + '"', '"' + "€" * 22 + '"']
SHAPES = [
    b"{}", b"[]", b"null", b"1", b'"x"', b"nothing", b"{", b"}", b"[", b"]", b",", b'{"id":"x"}',
    b'{"id":"x","values":[]}',
    b'{"id":"x","vector":[1]}', b'{"id":"x","values":null}', b'{"id":"x","values":"1"}', b'{"id":"x","values":[[1]]}',
    b"  " + line() + b"  ", b"\t" + line() + b"\t", line() + b"\r", line() + line(), line() + b" " + line(),
    line() + b",",
    b"[" + line() + b"]", b"[" + line() + b",", line()[:-1], line()[1:], line(extra='{"a":1}'),
    line(extra="1", more="2"),
    line().replace(b'"id"', b'"id":"first","id"'), line().replace(b'"values"', b'"values":[1],"values"'),
    line(values=f"[ {VALUES.replace(',', ' , ')} ]"), line(values=f"[{VALUES},1]"), line(values=f"[{VALUES[4:]}]"),
    b"", b" ", b"\t \r", b"\x0b", b"\x0c", b"\xef\xbb\xbf", b"\xef\xbb\xbf" + line(), b"\x00", line() + b"\x00",
    line(id='"a\tb"'), line(id='"a\x01b"'), b"{'id': 'x'}", b'{"record":1}', b"# a comment", b"// a comment", b"---",
]  # fmt: skip
CORPUS = [
    *(line(values=first(text)) for text in NUMBERS + NO_NUMBERS),
    *(line(metadata=text) for text in METADATA),
    *(line(id=text) for text in IDS),
    *(line(namespace=text) for text in NAMESPACES),
    *SHAPES,
    *(line(namespace=a, metadata=b) for a, b in product(NAMESPACES[:3], METADATA[:8])),
]
#: Each with an id of its own, where it has one.
ODD = [each.replace(b'"?"', f'"odd-{number}"'.encode()) for number, each in enumerate(CORPUS)]


def test_the_corpus_is_large_enough():
    assert len(set(ODD)) >= 150


def ways(tmp_path, text: bytes):
    """All the ways in, by name."""
    plain, packed, loud = tmp_path / "a.ndjson", tmp_path / "a.ndjson.gz", tmp_path / "b.ndjson.GZ"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text, 1))
    loud.write_bytes(packed.read_bytes())
    lines = (
        text.splitlines(keepends=True)
        if b"\r" not in text and b"\x0b" not in text
        else list(io.BytesIO(text))
    )
    yield "a path", expand(FS, str(plain), "")
    yield "gzip", expand(FS, str(packed), "")
    yield "GZ", expand(FS, str(loud), "")
    yield "bytes", text
    yield "lines as bytes", lines
    yield "a generator of lines", (each for each in lines)
    with plain.open("rb") as stream:
        yield "an open binary file", stream
    with FS.open(str(plain), "rb") as stream:
        yield "an open file of fsspec", stream
    decoded = text.decode()
    yield "str", decoded
    yield "lines as str", [each.decode() for each in lines]
    with plain.open("r", newline="\n") as stream:
        yield "an open text file", stream


def verdict(records, **options):
    client = FakeClient()
    try:
        report = ingest(client, "docs", records, options=IngestOptions(**options))
    except VectorizeError as error:
        named = [
            each.split(", line ", 1)[1]
            for each in str(error).splitlines()
            if "]" in each and ", line " in each
        ]
        return type(error), named[:5], client.bodies
    return report.accepted, report.rejected, client.bodies


@pytest.mark.parametrize("compact", [True, False])
def test_every_way_in_gives_the_same_verdict_on_every_odd_line(tmp_path, compact):
    lines = [item for number, odd in enumerate(ODD) for item in (odd, json.dumps(record(number)).encode())]
    text = b"\n".join(lines) + b"\n"
    options = {"compact": compact, "on_invalid": "reject", "max_rejects": len(ODD), "max_batch_vectors": 50}
    options["max_in_flight"] = 1  # so that the requests arrive in their order
    verdicts = {name: verdict(records, **options) for name, records in ways(tmp_path, text)}
    reference = verdicts["a path"]
    assert reference[1] > 80  # refused
    assert {name for name, each in verdicts.items() if each != reference} == set()


@pytest.mark.parametrize("compact", [True, False])
def test_each_refusal_is_the_same_in_every_way(tmp_path, compact):
    good = json.dumps(record(0)).encode()
    for odd in ODD:
        text = good + b"\n" + odd + b"\n" + good + b"\n"
        few = dict(ways(tmp_path, text))
        verdicts = {
            name: verdict(few[name], compact=compact) for name in ("a path", "str", "lines as str", "bytes")
        }
        assert len({repr(each) for each in verdicts.values()}) == 1, odd


def test_a_mapping_gets_the_verdict_of_its_line():
    for odd in ODD:
        try:
            given = json.loads(odd.decode(), strict=True)
        except ValueError:
            continue
        if isinstance(given, dict) and "record" not in given:
            for compact in (True, False):
                kinds = [verdict([each], compact=compact) for each in (odd, given)]
                assert isinstance(kinds[0][0], int) == isinstance(kinds[1][0], int), odd
                if isinstance(kinds[0][0], int):
                    bodies = [[json.loads(each) for each in kind[2]] for kind in kinds]
                    assert bodies[0] == bodies[1], odd


WHOLE = {
    "a BOM": b"\xef\xbb\xbf" + ndjson([record(1), record(2)]),
    "a BOM and a blank line": b"\xef\xbb\xbf\n" + ndjson([record(1)]),
    "a BOM and CRLF": b"\xef\xbb\xbf" + ndjson([record(1), record(2)]).replace(b"\n", b"\r\n"),
    "a blank line first": b"\n" + ndjson([record(1)]),
    "blank lines between": ndjson([record(1)]) + b"\n \n\r\n" + ndjson([record(2)]) + b"\n\n",
    "no newline at the end": ndjson([record(1), record(2)])[:-1],
    "CRLF and no newline at the end": ndjson([record(1), record(2)]).replace(b"\n", b"\r\n")[:-2],
    "only blank lines": b"\n\n \n",
    "nothing": b"",
    "a BOM in the middle": ndjson([record(1)]) + b"\xef\xbb\xbf" + ndjson([record(2)]),
}


@pytest.mark.parametrize("text", WHOLE.values(), ids=WHOLE)
def test_the_ends_of_lines_and_of_inputs_are_the_same_in_every_way(tmp_path, text):
    verdicts = {}
    for name, records in ways(tmp_path, text):
        kind, named, bodies = verdict(records)
        verdicts[name] = kind, named, bodies
    assert {name for name, each in verdicts.items() if each != verdicts["a path"]} == set()


@pytest.mark.parametrize("kept", [-2, -40, -200])
@pytest.mark.parametrize("on_invalid", ["fail", "reject"])
def test_an_input_that_ends_in_the_middle_of_a_line_has_broken_off(tmp_path, kept, on_invalid):
    text = ndjson([record(1), record(2), record(3)])[:kept]
    options = {"on_invalid": on_invalid, "max_rejects": 9} if on_invalid == "reject" else {}
    for name, records in ways(tmp_path, text):
        with pytest.raises(VectorizeError) as caught:
            ingest(FakeClient(), "docs", records, options=IngestOptions(**options))
        assert on_invalid == "fail" or isinstance(caught.value, SourceError), name
        assert "breaks off" in str(caught.value) or on_invalid == "fail", name


def test_an_item_of_several_lines_is_one_record_or_an_error_and_never_changed():
    client = FakeClient()
    ingest(client, "docs", [json.dumps(record(1), indent=2)], options=IngestOptions(compact=False))
    assert client.vectors["id-1"]["values"] == record(1)["values"]
    raw = json.dumps(record(1)).replace("id-1", "id\n1")
    for compact in (True, False):
        with pytest.raises(VectorizeError, match="line 1"):
            ingest(FakeClient(), "docs", [raw], options=IngestOptions(compact=compact))


def distinct(pairs):
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("compact", [True, False])
def test_a_key_that_comes_twice_is_never_sent_twice(compact):
    for odd in (
        line(id='"a","id":"b"'),
        line(id='"b"', metadata='{"u":"http://x","a":1,"a":2}'),
        line(id='"b"', metadata='{"a":{"b":"x:y","\\u0062":2}}'),
        line(id='"b"', metadata='{"x":1},"metadata":{"y":"a:b"}'),
    ):
        client = FakeClient()
        ingest(client, "docs", odd, options=IngestOptions(compact=compact))
        json.loads(client.bodies[0], object_pairs_hook=distinct)
        assert list(client.vectors) == ["b"]
