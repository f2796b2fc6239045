"""Assets that stand for an index, as Airflow makes and reads them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import Asset

from airflow_provider_vectorize.assets import account_and_index, sanitize_uri, vectorize_index
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from tests.versions import AIRFLOW

ACCOUNT = "0123456789abcdef0123456789abcdef"
URI = f"vectorize://{ACCOUNT}/docs"
WRONG = [
    f"vectorize://{ACCOUNT}",
    f"vectorize://{ACCOUNT}/docs/more",
    f"vectorize://{ACCOUNT}/Docs",
    f"vectorize://{ACCOUNT}/docs?x=1",
    f"vectorize://{ACCOUNT}/..",
    f"vectorize://{'a' * 33}/docs",
    "vectorize://docs",
    "vectorize:///docs",
    "vectorize://user@account/docs",
    "vectorize://account:80/docs",
]


def test_the_factory_makes_the_asset_of_an_index():
    assert vectorize_index(ACCOUNT, "docs").uri == URI
    assert vectorize_index(ACCOUNT, "docs", extra={"team": "search"}).extra == {"team": "search"}
    assert account_and_index(URI) == (ACCOUNT, "docs")


@pytest.mark.parametrize(("account", "index"), [("", "docs"), ("a/b", "docs"), ("a", "d"), ("a", "a/b")])
def test_the_factory_refuses_what_can_be_none(account, index):
    with pytest.raises(InvalidArgumentError, match=r"account_id|index_name"):
        vectorize_index(account, index)


def test_airflow_takes_the_uri_as_it_is():
    assert Asset(uri=URI).uri == URI
    assert Asset(uri=URI + "/").uri == URI


@pytest.mark.skipif(AIRFLOW < (3,), reason="Airflow 2 only warns of what a handler refuses")
@pytest.mark.parametrize("uri", WRONG)
def test_airflow_refuses_another_form(uri):
    with pytest.raises(ValueError, match="is not of the form vectorize://<account>/<index>"):
        Asset(uri=uri)


@pytest.mark.parametrize("uri", WRONG)
def test_the_handler_refuses_another_form(uri):
    with pytest.raises(ValueError, match="is not of the form vectorize://<account>/<index>"):
        sanitize_uri(urlsplit(uri))


def managers():
    if AIRFLOW >= (3, 2):
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

        return ProvidersManagerTaskRuntime()
    from airflow.providers_manager import ProvidersManager

    return ProvidersManager()


def registered(kind: str):
    return getattr(managers(), f"{'asset' if AIRFLOW >= (3,) else 'dataset'}_{kind}")["vectorize"]


def test_airflow_knows_handler_factory_and_converter_of_the_scheme():
    assert registered("uri_handlers") is sanitize_uri
    assert registered("factories") is vectorize_index
    dataset = registered("to_openlineage_converters")(vectorize_index(ACCOUNT, "docs"), None)
    assert (dataset.namespace, dataset.name) == (f"vectorize://{ACCOUNT}", "docs")


def test_airflow_makes_the_asset_from_its_parts_as_its_lineage_does():
    assert registered("factories")(account=ACCOUNT, index="docs", extra=None).uri == URI
