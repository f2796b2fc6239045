"""The emulator as one object, to start and stop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

from airflow_provider_vectorize.emulator.app import App
from airflow_provider_vectorize.emulator.faults import SCOPE_HEADER
from airflow_provider_vectorize.emulator.schedule import Mode
from airflow_provider_vectorize.emulator.server import Server
from airflow_provider_vectorize.emulator.settings import MAX_DIMENSIONS, METRICS, MIN_DIMENSIONS, Settings
from airflow_provider_vectorize.emulator.state import State
from airflow_provider_vectorize.emulator.validation import NewIndex

if TYPE_CHECKING:
    import requests

#: What tests may use where any account and any token are let in.
ANY_ACCOUNT: Final = "0123456789abcdef0123456789abcdef"
ANY_TOKEN: Final = "any-token"  # noqa: S105 - no secret: the emulator lets it in wherever no other is set


class Emulator:
    """An emulator that serves from a thread while the ``with`` block runs.

    :param port: the port; 0 takes a free one, see :attr:`port`.
    :param data: an SQLite file that keeps everything, or ``:memory:``.
    :param account: the only account id to let in; None for any.
    :param token: the only token to let in; None for any.
    :param visibility: when writes become visible: a mode, or a mode and its value, see
        :class:`.schedule.Visibility`.
    :param host: the address to listen on.
    :param settings: the rest of :class:`.settings.Settings`, by name.
    """

    def __init__(
        self,
        port: int = 0,
        data: str = ":memory:",
        *,
        account: str | None = None,
        token: str | None = None,
        visibility: Mode | tuple[Mode, float] = "immediate",
        host: str = "127.0.0.1",
        **settings: Any,
    ) -> None:
        chosen = Settings(account=account, token=token, **settings)
        self.account = account or ANY_ACCOUNT
        self.token = token or ANY_TOKEN
        self._state = State(data, chosen)
        app = App(self._state, chosen)
        self._control = app.control
        self._control.set_visibility(*((visibility,) if isinstance(visibility, str) else visibility))
        self._host = host
        self._server = Server((host, port), app, chosen)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where it answers; the API's own base is ``/client/v4`` below it."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def start(self) -> None:
        """Begin to answer; the port is taken already."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering, end open connections and close the file."""
        self._server.close()
        self._thread.join()
        self._state.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def create_index(
        self,
        name: str,
        *,
        dimensions: int = MIN_DIMENSIONS,
        metric: str = "cosine",
        account: str | None = None,
    ) -> None:
        """Set up an index, past the API and its log.

        :param name: its name.
        :param dimensions: 32 to 1,536 (limits page).
        :param metric: ``cosine``, ``euclidean`` or ``dot-product``.
        :param account: whose it is; None for :attr:`account`.
        """
        if not MIN_DIMENSIONS <= dimensions <= MAX_DIMENSIONS or metric not in METRICS:
            raise ValueError(f"no such configuration: {dimensions} dimensions, metric {metric!r}")
        self._state.create_index(account or self.account, NewIndex(name, None, dimensions, metric))

    def set_visibility(self, mode: Mode, value: float = 0) -> None:
        """Choose when writes become visible, see :class:`.schedule.Visibility`."""
        self._control.set_visibility(mode, value)

    def apply(self, index: str | None = None) -> list[dict[str, Any]]:
        """Apply the next batch of writes of an index, or of every index; tell what was applied."""
        return self._control.apply(index)

    def scope(self, name: str | None = None) -> requests.Session:
        """Make a session whose requests belong to a scope: faults ordered with ``"scope": name`` are for them only.

        :param name: of the scope, in ``session.headers["X-Emulator-Scope"]`` too; None for one that nobody else has.
        """
        import requests

        session = requests.Session()
        session.headers[SCOPE_HEADER] = name or uuid4().hex
        return session

    def add_faults(self, orders: Iterable[Mapping[str, Any]]) -> None:
        """Order faults, see :class:`.faults.Fault`."""
        self._control.add_faults(orders)

    def faults(self) -> list[dict[str, Any]]:
        """Give the faults that are left."""
        return self._control.faults()

    def clear_faults(self) -> None:
        """Drop the faults that are left."""
        self._control.clear_faults()

    def revoke(self, token: str) -> None:
        """Let a token in no more."""
        self._control.revoke(token)

    def log(self) -> list[dict[str, Any]]:
        """Give a row for each request to the API, oldest first."""
        return self._control.log()

    def clear_log(self) -> None:
        """Empty the log."""
        self._control.clear_log()

    def stats(self) -> dict[str, dict[str, int]]:
        """Give requests, vectors and bytes of every operation since the start."""
        return self._control.stats()

    def foreign(self, index: str, *, writes: int = 1, every: float = 0) -> None:
        """Let somebody else write to an index: ``writes`` vectors, one ``every`` so many seconds."""
        self._control.foreign(index, writes=writes, every=every)
