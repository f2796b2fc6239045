"""Who is asking: both kinds of credentials that the API takes. Pure."""

from __future__ import annotations

from collections.abc import Container
from email.message import Message

from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.settings import Settings


def credential(headers: Message) -> str:
    """Give the secret of ``Authorization: Bearer``, or else of ``X-Auth-Email`` with ``X-Auth-Key``.

    :returns: empty if there is none.
    """
    scheme, _, token = str(headers.get("Authorization", "")).partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return str(headers.get("X-Auth-Key", "")).strip() if headers.get("X-Auth-Email") else ""


def check(headers: Message, account: str, settings: Settings, revoked: Container[str] = ()) -> None:
    """Let a request in.

    :param revoked: tokens that are let in no more.

    :raises ApiError: 9106 without credentials, 10000 with wrong ones or for another account.
    """
    secret = credential(headers)
    if not secret:
        raise ApiError("no_credentials")
    if settings.token not in (None, secret) or secret in revoked:
        raise ApiError("wrong_token")
    if settings.account not in (None, account):
        raise ApiError("wrong_account")
