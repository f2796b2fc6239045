"""From the fields of an Airflow connection to the settings of a client. Pure: nothing is looked up or sent."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.address import DEFAULT_BASE_URL, normalize_base_url
from airflow_provider_vectorize.client.arguments import check_index_name
from airflow_provider_vectorize.client.client import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.wire import new_session

log = logging.getLogger(__name__)

_EXTRAS = ("auth_email", "index_name", "timeout", "max_attempts", "verify")
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


class ConnectionFields(Protocol):
    """What is read of an Airflow connection."""

    conn_id: str
    login: str | None
    password: str | None
    host: str | None
    port: int | None
    schema: str | None
    extra: str | None


@dataclass(frozen=True)
class ConnectionSettings:
    """What a connection of type ``vectorize`` says.

    :param account_id: login.
    :param secret: password: the API token, or the Global API key when ``auth_email`` is set.
    :param auth_email: extra: user of the Global API key.
    :param base_url: host, port and schema: address of the API, ending in ``/client/v4``.
    :param index_name: extra: the index where a task names none.
    :param timeout: extra: seconds to wait for the next byte of an answer; default 60.
    :param max_attempts: extra: requests for one call; default 8.
    :param verify: extra: whether to verify the certificate, or the path of a CA bundle; default True.
    """

    account_id: str
    secret: str = field(repr=False)
    auth_email: str | None = None
    base_url: str = DEFAULT_BASE_URL
    index_name: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    verify: bool | str = True

    @classmethod
    def from_connection(cls, connection: ConnectionFields) -> ConnectionSettings:
        """Read a connection.

        :raises InvalidArgumentError: naming the connection and the field.
        """
        where = f"connection {connection.conn_id!r}"
        account_id = (connection.login or "").strip()
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", account_id):
            raise InvalidArgumentError(
                f"{where}, field login (Account ID): {account_id[:40]!r} is not of the form [A-Za-z0-9_-]{{1,32}}; "
                "it is on the right of the account's overview in the Cloudflare dashboard"
            )
        base_url = _base_url(where, connection)
        # A stand-in takes any.
        if base_url == DEFAULT_BASE_URL and not re.fullmatch(r"[0-9a-f]{32}", account_id):
            log.warning("%s, field login (Account ID): %r is not 32 hex characters", where, account_id)
        extras = _Extras(where, _load_extra(where, connection.extra))
        settings = cls(
            account_id=account_id,
            secret="",
            auth_email=extras.read("auth_email", str, None),
            base_url=base_url,
            index_name=extras.read("index_name", check_index_name, None),
            timeout=extras.read("timeout", _positive, DEFAULT_TIMEOUT),
            max_attempts=extras.read("max_attempts", _count, DEFAULT_MAX_ATTEMPTS),
            verify=extras.read("verify", _verify, True),
        )
        # Last, and under no name: a traceback may show what the frame of an error holds.
        if flaw := _flaw_of_secret(connection.password or ""):
            raise InvalidArgumentError(f"{where}, field password (API token): {flaw}")
        return replace(settings, secret=(connection.password or "").strip())

    def client(self, **overrides: Any) -> VectorizeClient:
        """Make a client.

        :param overrides: other arguments of :class:`VectorizeClient`.
        """
        session = new_session()
        session.verify = self.verify
        settings: dict[str, Any] = {
            "base_url": self.base_url,
            "timeout": self.timeout,
            "max_attempts": self.max_attempts,
            "session": session,
        }
        # The secret is named in no local variable: a traceback may show those.
        return VectorizeClient(
            self.account_id,
            None if self.auth_email else self.secret,
            email=self.auth_email,
            api_key=self.secret if self.auth_email else None,
            **(settings | overrides),
        )


def _flaw_of_secret(secret: str) -> str | None:
    if not secret.strip():
        return "it is empty"
    return (
        None
        if secret.strip().isascii() and secret.strip().isprintable()
        else "it has characters that no token has"
    )


def _base_url(where: str, connection: ConnectionFields) -> str:
    host, port = (connection.host or "").strip(), connection.port
    schema = (connection.schema or "").strip().lower()
    if schema not in ("", "http", "https"):
        raise InvalidArgumentError(f"{where}, field schema: {connection.schema!r} is neither https nor http")
    if not host:
        if port not in (None, 443):
            raise InvalidArgumentError(f"{where}, field port: {port} is of no use without a host")
        if schema == "http":
            raise InvalidArgumentError(
                f"{where}, field schema: http is for a stand-in on this machine; set its host"
            )
        return DEFAULT_BASE_URL
    if "://" not in host:
        host = f"{schema or 'https'}://{f'[{host}]' if _is_ipv6(host) else host}"
    try:
        parts = urlsplit(host)
    except ValueError as error:
        raise InvalidArgumentError(f"{where}, field host: {host!r} is no address: {error}") from None
    if schema and parts.scheme != schema:
        raise InvalidArgumentError(
            f"{where}, fields host and schema disagree: the host is {parts.scheme}://..., the schema {schema}"
        )
    try:
        own_port = parts.port
        if port is not None and own_port is None:
            host = parts._replace(netloc=f"{parts.netloc}:{port}").geturl()
        base_url = normalize_base_url(host)
    except ValueError as error:
        raise InvalidArgumentError(f"{where}, field host: {error}") from None
    if port is not None and own_port not in (None, port):
        raise InvalidArgumentError(
            f"{where}, fields host and port disagree: the host has {own_port}, the port is {port}"
        )
    return base_url


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


def _load_extra(where: str, extra: str | None) -> Mapping[str, Any]:
    if not extra:
        return {}
    try:
        loaded = orjson.loads(extra)
    except orjson.JSONDecodeError as error:
        raise InvalidArgumentError(f"{where}, field extra: it is not JSON: {error}") from None
    if not isinstance(loaded, dict):
        raise InvalidArgumentError(f"{where}, field extra: it is not a JSON object")
    for key in loaded:
        if key not in _EXTRAS:
            log.warning(
                "%s, field extra: %r is not known and ignored; known are %s", where, key, ", ".join(_EXTRAS)
            )
    return loaded


class _Extras:
    """Read extras, which a URI gives as text and JSON with types, and which the form leaves empty."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self._where = where
        self._values = values

    def read(self, name: str, convert: Callable[[Any], Any], default: Any) -> Any:
        value = self._values.get(name)
        if isinstance(value, str):
            value = value.strip()
        if value is None or value == "":
            return default
        try:
            return convert(value)
        except (ValueError, TypeError) as error:
            raise InvalidArgumentError(f"{self._where}, extra {name}: {error}") from None


def _positive(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number) or number <= 0:
        raise ValueError(f"{value!r} is not a number of seconds above 0")
    return number


def _count(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or number != float(value) or number < 1:
        raise ValueError(f"{value!r} is not a whole number of at least 1")
    return number


def _verify(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    text = str(value)
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    if not Path(text).exists():
        raise ValueError(f"{text!r} is neither true nor false nor the path of a CA bundle that exists")
    return text
