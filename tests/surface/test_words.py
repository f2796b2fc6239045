"""What a task that failed says, as Airflow's web interface shows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import SourceError, TransportError
from airflow_provider_vectorize.operators.common import fail_fast
from airflow_provider_vectorize.wording import FAILURE_LENGTH, of_a_failure

TEXT = (
    "/data/passages/2026-11-25/part-00001.ndjson, line 42 (id 'cycling-02'): the index has 384 dimensions, the vector "
    "383 [wrong_dimensions]\nAccepted: 0 records in 0 requests."
)


def test_a_long_sentence_is_broken_behind_its_colon():
    assert of_a_failure(TEXT).splitlines() == [
        "",  # the name of the exception stands here
        "/data/passages/2026-11-25/part-00001.ndjson, line 42 (id 'cycling-02'):",
        "the index has 384 dimensions, the vector 383 [wrong_dimensions]",
        "Accepted: 0 records in 0 requests.",
    ]


@given(st.text(st.sampled_from("ab:;. \n")))
def test_nothing_is_lost_and_nothing_long_has_a_place_left_to_break_it(text):
    short = of_a_failure(text)
    assert short.split() == text.split()
    for line in short.splitlines():
        assert len(line) <= FAILURE_LENGTH or not {". ", "; "} & {line[n : n + 2] for n in range(len(line))}


@pytest.mark.parametrize("error", [SourceError(TEXT), TransportError(TEXT)])
def test_every_error_of_a_task_has_short_lines(error):
    with pytest.raises(Exception, match="line 42") as raised, fail_fast():
        raise error
    assert str(raised.value) == of_a_failure(TEXT)
