"""An index as declared, against every kind of drift."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.types import Index, MetadataIndex
from airflow_provider_vectorize.index.declaration import Declaration, Drift, compare

KINDS = ("string", "number", "boolean")


def index(dimensions=32, metric="cosine", description=""):
    return Index("docs", dimensions, metric, description, "2026-01-01", "2026-01-01")


def declared(dimensions=32, metric="cosine", **fields):
    return Declaration(dimensions, metric, **fields)


class TestWhatIsNoDeclaration:
    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({}, "dimensions and metric together, or by preset"),
            ({"dimensions": 32}, "dimensions and metric together"),
            ({"metric": "cosine"}, "dimensions and metric together"),
            ({"preset": "p", "dimensions": 32}, "not by both"),
            ({"dimensions": 31, "metric": "cosine"}, "32 to 1536, got 31"),
            ({"dimensions": 1537, "metric": "cosine"}, "32 to 1536, got 1537"),
            ({"dimensions": "768", "metric": "cosine"}, "whole number, got '768'"),
            ({"dimensions": True, "metric": "cosine"}, "whole number, got True"),
            ({"dimensions": 32, "metric": "cos"}, "cosine, euclidean, dot-product, got 'cos'"),
        ],
    )
    def test_the_configuration(self, fields, says):
        with pytest.raises(InvalidArgumentError, match=says):
            Declaration(**fields)

    @pytest.mark.parametrize(
        ("metadata_indexes", "says"),
        [
            (["lang"], "must be a mapping"),
            ({"lang": "String"}, "type of 'lang' must be one of string, number, boolean, got 'String'"),
            ({"": "string"}, "'' is not the name of a property"),
            ({f"p{n}": "string" for n in range(11)}, "at most 10 metadata indexes, declared are 11"),
        ],
    )
    def test_the_metadata_indexes(self, metadata_indexes, says):
        with pytest.raises(InvalidArgumentError, match=says):
            declared(metadata_indexes=metadata_indexes)


class TestDrift:
    def test_none(self):
        drift = compare(
            declared(description="d", metadata_indexes={"lang": "string"}),
            index(description="d"),
            [MetadataIndex("lang", "string")],
        )
        assert drift == Drift()

    @pytest.mark.parametrize(
        ("found", "says"),
        [
            (index(dimensions=64), "it has 64 dimensions, declared are 32"),
            (index(metric="euclidean"), "its metric is euclidean, declared is cosine"),
        ],
    )
    def test_another_configuration_is_a_conflict_that_names_both(self, found, says):
        assert compare(declared(), found, []).conflicts == (says,)

    def test_every_difference_is_named(self):
        assert len(compare(declared(), index(64, "euclidean"), []).conflicts) == 2

    def test_a_preset_stands_for_its_dimensions(self):
        preset = Declaration(preset="@cf/baai/bge-base-en-v1.5")
        assert compare(preset, index(768), []).conflicts == ()
        assert compare(preset, index(384), []).conflicts == ("it has 384 dimensions, declared are 768",)

    def test_a_preset_of_tomorrow_is_not_compared_and_says_so(self):
        drift = compare(Declaration(preset="@cf/new/model"), index(384), [])
        assert not drift.conflicts
        assert "'@cf/new/model' stands for is not known here" in drift.remarks[0]

    def test_another_description_is_a_remark_if_one_is_declared(self):
        assert compare(declared(), index(description="old"), []).remarks == ()
        assert (
            "'old', declared is 'new'"
            in compare(declared(description="new"), index(description="old"), []).remarks[0]
        )

    def test_another_type_of_a_metadata_index_is_a_conflict(self):
        drift = compare(
            declared(metadata_indexes={"year": "number"}), index(), [MetadataIndex("year", "string")]
        )
        assert drift.conflicts == ("its metadata index 'year' is of type string, declared is number",)
        assert not drift.missing

    def test_more_than_fit_is_a_conflict(self):
        there = [MetadataIndex(f"p{n}", "string") for n in range(9)]
        drift = compare(declared(metadata_indexes={"a": "string", "b": "string"}), index(), there)
        assert "11 metadata indexes, at most 10" in drift.conflicts[0]

    @given(
        wanted=st.dictionaries(st.sampled_from("abcde"), st.sampled_from(KINDS)),
        there=st.dictionaries(st.sampled_from("abcde"), st.sampled_from(KINDS)),
    )
    def test_metadata_indexes_against_a_model(self, wanted, there):
        drift = compare(
            declared(metadata_indexes=wanted), index(), [MetadataIndex(*each) for each in there.items()]
        )
        assert drift.missing == {name: kind for name, kind in wanted.items() if name not in there}
        assert len(drift.conflicts) == sum(there.get(name, kind) != kind for name, kind in wanted.items())
        assert bool(drift.remarks) == bool(there.keys() - wanted.keys())
