"""Credentials: how a request is signed, and how they are read anew. No repr shows them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import requests
from requests.auth import AuthBase

from airflow_provider_vectorize.client.errors import printable

log = logging.getLogger(__name__)


class Credentials(AuthBase):
    """An API token, or the legacy pair of e-mail and Global API key.

    An ``AuthBase``, since a header set by hand gives way to a ``.netrc``.

    :param secret: the token, or the key when ``email`` is given.
    :param email: user of the Global API key.
    :param renew: reads the secret anew, wherever it is kept; see :meth:`renewed`.
    """

    def __init__(self, secret: str, email: str | None = None, renew: Callable[[], str] | None = None) -> None:
        self._secrets = [secret]
        self._email = email
        self._renew = renew
        self._lock = threading.Lock()

    @property
    def secret(self) -> str:
        """The secret that is used now."""
        return self._secrets[-1]

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign the request."""
        if self._email is None:
            request.headers["Authorization"] = f"Bearer {self.secret}"
        else:
            request.headers["X-Auth-Email"] = self._email
            request.headers["X-Auth-Key"] = self.secret
        return request

    @property
    def version(self) -> int:
        """Counts the secrets that were used."""
        return len(self._secrets)

    def renewed(self, refused: int) -> bool:
        """Read the secret anew after a refusal; tell whether there is another one than was refused. Never raises.

        :param refused: the version that was.
        """
        with self._lock:
            if self._renew is not None and self.version == refused:
                try:
                    if (fresh := self._renew()) != self.secret:
                        self._secrets.append(fresh)
                except Exception as error:  # noqa: BLE001  # foreign code; what is said of it is the refusal
                    why = printable(self.mask(f"{type(error).__name__}: {error}"))
                    log.warning("The credentials were refused, and cannot be read anew: %s", why[:1_000])
            return self.version != refused

    def mask(self, text: str) -> str:
        """Take out every secret that was used."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def flaw_of_credentials(api_token: str | None, email: str | None, api_key: str | None) -> str | None:
    """Say what is wrong with the credentials of a client; never raises, since a traceback may show what is given."""
    if bool(api_token) == bool(email and api_key) or bool(email) != bool(api_key):
        return "either api_token, or email and api_key together, must be given and not be empty"
    text = f"{api_token or api_key}{email or ''}"
    if not (text.isprintable() and text.isascii()):
        return "the token, key or e-mail contains characters that cannot be sent in a header"
    return None
