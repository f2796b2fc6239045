"""Which addresses are accepted."""

from __future__ import annotations

import pytest

from airflow_provider_vectorize.client.address import normalize_base_url
from airflow_provider_vectorize.client.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://api.cloudflare.com/client/v4", "https://api.cloudflare.com/client/v4"),
        ("https://api.cloudflare.com/client/v4/", "https://api.cloudflare.com/client/v4"),
        ("https://proxy.example:8443/cf", "https://proxy.example:8443/cf/client/v4"),
        ("http://127.0.0.1:8328", "http://127.0.0.1:8328/client/v4"),
        ("http://localhost:8328", "http://localhost:8328/client/v4"),
        ("http://[::1]:8328/", "http://[::1]:8328/client/v4"),
    ],
)
def test_the_api_path_is_appended_unless_it_is_there(given, used):
    assert normalize_base_url(given) == used


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("http://api.cloudflare.com", "plain http"),
        ("http://10.0.0.1:80", "plain http"),
        ("http://localhost.example.com", "plain http"),
        ("ftp://api.cloudflare.com", "must start with https"),
        ("api.cloudflare.com", "must start with https"),
        ("https://", "no host"),
        ("https://host:99999", "port"),
        ("https://host?x=1", "query"),
        ("https://host#x", "fragment"),
        ("https://user:secret@host", "user or a password"),
    ],
)
def test_an_address_that_cannot_work_is_refused(given, says):
    with pytest.raises(InvalidArgumentError, match=says) as caught:
        normalize_base_url(given)
    assert "secret" not in str(caught.value)
