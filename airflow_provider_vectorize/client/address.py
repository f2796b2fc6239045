"""The address of the API: what is accepted as one."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from airflow_provider_vectorize.client.errors import InvalidArgumentError

API_PATH = "/client/v4"
DEFAULT_BASE_URL = "https://api.cloudflare.com" + API_PATH


def is_loopback(host: str) -> bool:
    """Tell whether the host is this machine, by its name alone: nothing is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def normalize_base_url(url: str) -> str:
    """Check the address and complete it with ``/client/v4``.

    :param url: ``https://HOST[:PORT][/PATH]``; ``http`` is accepted for loopback only, since the token travels
        with every request.
    :raises InvalidArgumentError: naming what is wrong. The text never repeats a user or password in the URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidArgumentError(f"the API address {url!r} is none: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidArgumentError("the API address must not contain a user or a password")
    try:
        port = parts.port
    except ValueError as error:
        raise InvalidArgumentError(f"the API address {url!r} has a port that is none: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidArgumentError(f"the API address {url!r} must start with https:// or http://")
    if not parts.hostname:
        raise InvalidArgumentError(f"the API address {url!r} has no host")
    if parts.query or parts.fragment:
        raise InvalidArgumentError(f"the API address {url!r} must not have a query or a fragment")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidArgumentError(
            f"the API address {url!r} is plain http, which would send the token unencrypted: use https "
            "(http is for a stand-in on this machine only)"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/")
    if not path.endswith(API_PATH):
        path += API_PATH
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"
