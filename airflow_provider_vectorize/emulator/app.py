"""What happens to a request between the socket and the operation, and the account that is kept of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from airflow_provider_vectorize.emulator import authentication, control, responses, routes
from airflow_provider_vectorize.emulator.control import Control
from airflow_provider_vectorize.emulator.damage import Damage
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.faults import SCOPE_HEADER, Fault, Faults
from airflow_provider_vectorize.emulator.operations import Operations, Request
from airflow_provider_vectorize.emulator.records import Records, Row, safe_headers
from airflow_provider_vectorize.emulator.responses import Hangup, Pace, Reply
from airflow_provider_vectorize.emulator.routes import Route
from airflow_provider_vectorize.emulator.settings import MAX_JSON_BYTES, MAX_UPLOAD_BYTES, Settings
from airflow_provider_vectorize.emulator.state import State
from airflow_provider_vectorize.emulator.throttle import Throttle
from airflow_provider_vectorize.emulator.wire import Head

#: Reads the body, at most so many bytes of it, and at this pace.
ReadBody = Callable[[int, Pace | None], bytes]


class App:
    """The emulator without its socket.

    :param state: the indexes.
    :param settings: how to behave.
    """

    def __init__(self, state: State, settings: Settings) -> None:
        self._settings = settings
        self._state = state
        self._operations = Operations(state, settings)
        self._records = Records()
        self._faults = Faults()
        self._throttle = Throttle(settings.rate_limit)
        self._revoked: set[str] = set()
        self.control = Control(state, self._records, self._faults, self._throttle, self._revoked)

    def serve(self, head: Head, read: ReadBody) -> Reply | Hangup:
        """Answer a request; whatever it is, with an envelope."""
        if head.path == "/" and head.method in ("GET", "HEAD"):
            return responses.page()
        if head.path.startswith(control.PREFIX):
            path = head.path.removeprefix(control.PREFIX)
            return self._answered(
                lambda: responses.plain(self.control.serve(head.method, path, read(MAX_JSON_BYTES, None)))
            )
        row: Row = {
            "operation": None, "index": None, "status": None, "bytes": 0, "vectors": 0, "time": time.time(),
            "headers": safe_headers(head.headers),
        }  # fmt: skip
        reply = self._answered(lambda: self._serve_api(head, read, row))
        row["status"] = reply.status if isinstance(reply, Reply) else None
        self._records.add(row)
        return reply

    def tick(self) -> None:
        """Let happen what happens by itself; called many times a second, and never raises."""
        try:
            self._state.tick()
        except Exception:  # noqa: BLE001 - it must not end the server, nor pass silently
            traceback.print_exc()

    def refuse(self, error: ApiError) -> Reply:
        """Give the answer for a refusal."""
        return responses.refusal(error, self._settings.statuses)

    def _answered(self, call: Callable[[], Reply | Hangup]) -> Reply | Hangup:
        try:
            return call()
        except ApiError as error:
            return self.refuse(error)
        except OSError:
            raise  # The connection's end is the server's matter.
        except Exception:  # noqa: BLE001 - a fault of ours must not end the server, nor pass silently
            traceback.print_exc()
            return self.refuse(ApiError("internal"))

    def _serve_api(self, head: Head, read: ReadBody, row: Row) -> Reply | Hangup:
        self._throttle.check(authentication.credential(head.headers))
        route = routes.match(head.method, head.path)
        row["operation"], row["index"] = route.operation, route.index
        fault = self._faults.take(route.operation, head.headers.get(SCOPE_HEADER))
        try:
            return self._carry_out(head, read, row, route, fault)
        except (ApiError, OSError):
            if fault is not None:  # It came to nothing.
                self._faults.give_back(fault)
                row.pop("fault")
            raise

    def _carry_out(
        self, head: Head, read: ReadBody, row: Row, route: Route, fault: Fault | None
    ) -> Reply | Hangup:
        damage = None
        if fault is not None:
            row["fault"] = fault.kind
            if fault.kind in ("drop", "corrupt"):
                damage = Damage(fault.share)
        pace = responses.pace(fault)
        limit = MAX_UPLOAD_BYTES if route.operation in routes.UPLOADS else MAX_JSON_BYTES
        body = read(limit, None if pace is None or pace.head else pace)
        row["bytes"] = len(body)
        if fault is not None and fault.kind == "status":
            return responses.ordered(fault)
        if fault is not None and fault.kind in ("reset", "hang"):
            return Hangup(fault.seconds if fault.kind == "hang" else 0)
        authentication.check(head.headers, route.account, self._settings, self._revoked)
        request = Request(
            operation=route.operation,
            account=route.account,
            index=route.index or "",
            query=head.query,
            content_type=str(head.headers.get("Content-Type", "")),
            body=body,
            damage=damage,
        )
        result = self._operations.run(request)
        row["vectors"], row["mutation_id"] = result.vectors, result.mutation_id
        status = self._settings.created_status if route.operation == "create_index" else 200
        if damage is not None:
            row["damaged"] = damage.ids
        if fault is not None and fault.kind == "accept-then-reset":
            return Hangup()
        return responses.success(result.value, status)._replace(pace=pace)
