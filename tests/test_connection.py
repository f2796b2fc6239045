"""How an Airflow connection is read, and what each mistake in it says."""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

import pytest
import requests
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "tok_0123456789abcdefghijklmnopqrstuvwxyz"
CLOUDFLARE = "https://api.cloudflare.com/client/v4"


@pytest.fixture
def from_uri(monkeypatch):
    """Read a connection as Airflow itself reads a URI, which differs by version."""

    def read(uri: str) -> ConnectionSettings:
        monkeypatch.setenv("AIRFLOW_CONN_C", uri)
        return VectorizeHook("c").settings

    return read


def from_fields(*, extra: object = None, **fields: object) -> ConnectionSettings:
    fields = {"login": ACCOUNT, "password": TOKEN} | fields
    text = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
    return ConnectionSettings.from_connection(
        Connection(conn_id="c", conn_type="vectorize", extra=text, **fields)
    )


def test_account_and_token_are_a_complete_uri(from_uri):
    settings = from_uri(f"vectorize://{ACCOUNT}:{TOKEN}@")
    assert settings == ConnectionSettings(ACCOUNT, TOKEN)
    assert settings.base_url == CLOUDFLARE


def test_the_json_form_is_the_same():
    assert from_fields() == ConnectionSettings(ACCOUNT, TOKEN)


@pytest.mark.parametrize(
    ("uri_end", "base_url"),
    [
        ("@127.0.0.1:8328/http", "http://127.0.0.1:8328/client/v4"),
        ("@localhost:8328/http", "http://localhost:8328/client/v4"),
        ("@[::1]:8328/http", "http://[::1]:8328/client/v4"),
        ("@gateway.example.com", "https://gateway.example.com/client/v4"),
        ("@gateway.example.com:8443/https", "https://gateway.example.com:8443/client/v4"),
        (f"@{quote('https://gateway.example.com/cf', safe='')}", "https://gateway.example.com/cf/client/v4"),
    ],
)
def test_the_address_can_be_another_by_uri(from_uri, uri_end, base_url):
    assert from_uri(f"vectorize://{ACCOUNT}:{TOKEN}{uri_end}").base_url == base_url


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": ""}, CLOUDFLARE),
        ({"host": "", "schema": "https"}, CLOUDFLARE),
        ({"host": " gateway.example.com "}, "https://gateway.example.com/client/v4"),
        ({"host": "127.0.0.1:8328", "schema": "HTTP"}, "http://127.0.0.1:8328/client/v4"),
        ({"host": "::1", "port": 8328, "schema": "http"}, "http://[::1]:8328/client/v4"),
        ({"host": "http://127.0.0.1", "port": 8328}, "http://127.0.0.1:8328/client/v4"),
        (
            {"host": "http://127.0.0.1:8328", "port": 8328, "schema": "http"},
            "http://127.0.0.1:8328/client/v4",
        ),
        ({"host": "https://gw.example.com/client/v4/"}, "https://gw.example.com/client/v4"),
    ],
)
def test_the_address_can_be_another_by_fields(fields, base_url):
    assert from_fields(**fields).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"login": None}, "field login"),
        ({"login": "not/an/account"}, "field login"),
        ({"login": "x" * 33}, "field login"),
        ({"password": None}, "field password"),
        ({"password": "  "}, "field password"),
        ({"password": "tok\u00e9n"}, "field password"),
        ({"schema": "ftp"}, "field schema"),
        ({"schema": "http"}, "field schema"),
        ({"port": 8443}, "field port"),
        ({"host": "gateway.example.com", "schema": "http"}, "field host.*plain http"),
        ({"host": "http://gateway.example.com"}, "field host.*plain http"),
        ({"host": "https://gw.example.com", "schema": "http"}, "fields host and schema disagree"),
        ({"host": "https://gw.example.com:1", "port": 2}, "fields host and port disagree"),
        ({"host": "https://gw.example.com:port"}, "field host"),
        ({"host": "https://me:secret@gw.example.com"}, "field host"),
        ({"extra": "{"}, "field extra"),
        ({"extra": "[]"}, "field extra"),
        ({"extra": {"index_name": "My Index"}}, "extra index_name"),
        ({"extra": {"timeout": "soon"}}, "extra timeout"),
        ({"extra": {"timeout": 0}}, "extra timeout"),
        ({"extra": {"timeout": "inf"}}, "extra timeout"),
        ({"extra": {"timeout": True}}, "extra timeout"),
        ({"extra": {"max_attempts": "2.5"}}, "extra max_attempts"),
        ({"extra": {"max_attempts": 0}}, "extra max_attempts"),
        ({"extra": {"verify": "/no/such/bundle.pem"}}, "extra verify"),
    ],
)
def test_each_mistake_names_the_connection_and_the_field(fields, names):
    with pytest.raises(InvalidArgumentError, match=f"connection 'c', {names}") as caught:
        from_fields(**fields)
    assert TOKEN not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("false", False),
        ("False", False),
        (False, False),
        ("0", False),
        ("true", True),
        (True, True),
        ("", True),
        (None, True),
    ],
)
def test_verify_arrives_as_text_or_bool(value, read):
    assert from_fields(extra={"verify": value}).verify is read


def test_verify_can_be_a_ca_bundle(tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert from_fields(extra={"verify": str(bundle)}).verify == str(bundle)


def test_extras_of_a_uri_are_coerced(from_uri):
    settings = from_uri(
        f"vectorize://{ACCOUNT}:{TOKEN}@?timeout=7.5&max_attempts=3&verify=false&index_name=docs"
    )
    assert (settings.timeout, settings.max_attempts, settings.verify, settings.index_name) == (
        7.5,
        3,
        False,
        "docs",
    )


def test_empty_extras_of_the_form_are_the_defaults():
    extra = {"auth_email": "", "index_name": None, "timeout": "", "max_attempts": None, "verify": ""}
    assert from_fields(extra=extra) == ConnectionSettings(ACCOUNT, TOKEN)


def test_an_email_makes_the_password_the_global_api_key():
    client = from_fields(extra={"auth_email": "me@example.com"}).client()
    signed = client._transport.auth(requests.Request("GET", "https://api.invalid").prepare())
    assert dict(signed.headers) == {"X-Auth-Email": "me@example.com", "X-Auth-Key": TOKEN}


def test_the_settings_reach_the_client():
    client = from_fields(extra={"timeout": 5, "max_attempts": 2, "verify": False}).client()
    transport = client._transport
    assert (transport.timeout, transport.max_attempts, transport.session.verify) == (5, 2, False)


def test_an_account_id_of_another_form_is_a_warning(caplog):
    caplog.set_level(logging.WARNING)
    from_fields(login="demo")
    assert "'demo' is not 32 hex characters" in caplog.text


def test_an_unknown_extra_is_a_warning(caplog):
    caplog.set_level(logging.WARNING)
    from_fields(extra={"indexname": "docs"})
    assert "'indexname' is not known" in caplog.text


def test_the_token_is_not_in_the_repr():
    assert TOKEN not in repr(from_fields())
