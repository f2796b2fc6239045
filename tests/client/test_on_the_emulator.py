"""Answers that the API was seen to give, over a real socket: what the client makes of them."""

from __future__ import annotations

import pytest

from airflow_provider_vectorize.client import VectorizeClient, errors
from airflow_provider_vectorize.emulator import Emulator


@pytest.mark.parametrize("status", [200, 201])
def test_an_index_is_created_with_either_status(status: int) -> None:
    with Emulator(created_status=status) as emulator:
        client = VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)
        assert client.create_index("docs", dimensions=32, metric="cosine").dimensions == 32
        assert emulator.log()[-1]["status"] == status


def test_refusals_have_their_classes_and_are_not_repeated() -> None:
    with Emulator() as emulator:
        client = VectorizeClient(emulator.account, emulator.token, base_url=emulator.url)
        client.create_index("docs", dimensions=32, metric="cosine")
        client.create_metadata_index("docs", "topic", "string")
        emulator.clear_log()
        with pytest.raises(errors.IndexExistsError, match="code 3002"):
            client.create_index("docs", dimensions=32, metric="cosine")
        with pytest.raises(errors.InvalidIndexError, match=r"Dimensions must be in range"):
            client.create_index("other", dimensions=7, metric="cosine")
        with pytest.raises(errors.MetadataIndexExistsError, match="code 40004"):
            client.create_metadata_index("docs", "topic", "number")
        with pytest.raises(errors.MetadataIndexNotFoundError, match="code 40005"):
            client.delete_metadata_index("docs", "nothing")
        assert [row["status"] for row in emulator.log()] == [400] * 4
