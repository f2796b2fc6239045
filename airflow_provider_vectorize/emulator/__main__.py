"""The command: ``python -m airflow_provider_vectorize.emulator``."""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from ipaddress import ip_address

from airflow_provider_vectorize.emulator.errors import REFUSALS
from airflow_provider_vectorize.emulator.instance import Emulator
from airflow_provider_vectorize.emulator.schedule import Visibility
from airflow_provider_vectorize.emulator.settings import PLANS, RateLimit


def _visibility(text: str) -> Visibility:
    mode, _, value = text.partition(":")
    return Visibility(mode, float(value or 0))  # type: ignore[arg-type]  # checked by Visibility


def _rate_limit(text: str) -> RateLimit:
    requests, _, seconds = text.partition("/")
    return RateLimit(int(requests), float(seconds))


def _status(text: str) -> tuple[str, int]:
    kind, _, status = text.partition("=")
    if kind not in REFUSALS or not 400 <= int(status) <= 599:
        raise ValueError(text)
    return kind, int(status)


def _host(text: str) -> str:
    return text if text == "localhost" else str(ip_address(text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vectorize-emulator",
        description="A local stand-in of the Cloudflare Vectorize REST API, for development and tests.",
    )
    add = parser.add_argument
    add("--port", type=int, default=8328, help="0 takes a free one and prints it (default: %(default)s)")
    add("--host", type=_host, default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--data", default=":memory:", help="SQLite file that keeps everything (default: %(default)s)")
    add("--account", help="let in this account id only (default: any)")
    add("--token", help="let in this token only (default: any)")
    add(
        "--visibility", type=_visibility, default=Visibility(), metavar="MODE[:VALUE]",
        help="when writes become visible: immediate, delay:SECONDS, polls:N or manual (default: immediate)",
    )  # fmt: skip
    add(
        "--rate-limit", type=_rate_limit, metavar="REQUESTS/SECONDS",
        help="the API's is 1200/300 (default: none)",
    )  # fmt: skip
    add("--plan", choices=PLANS, default="paid", help="whose limits hold (default: %(default)s)")
    add(
        "--status", type=_status, action="append", default=[], metavar="KIND=STATUS", dest="statuses",
        help="another HTTP status for a kind of error, e.g. index_not_found=400",
    )  # fmt: skip
    add("--deleted-seconds", type=float, default=60.0, help="how long a deleted index is told as such")
    add(
        "--keep-deleted-names", dest="reuse_deleted_name", action="store_false",
        help="refuse to create an index of a name deleted within --deleted-seconds",
    )  # fmt: skip
    add(
        "--refuse-ndjson-boundary", dest="ndjson_boundary", action="store_false",
        help="do not read application/x-ndjson with a boundary as multipart",
    )  # fmt: skip
    add(
        "--refuse-null-metadata", dest="null_metadata", action="store_false",
        help="take no null as a value in metadata",
    )  # fmt: skip
    add(
        "--created-status", type=int, choices=(200, 201), default=200,
        help="HTTP status when an index is created (default: %(default)s)",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted or terminated."""
    options = vars(_parser().parse_args(arguments))
    visibility = options.pop("visibility")
    options["statuses"] = dict(options["statuses"])
    if options["host"] != "localhost" and not ip_address(options["host"]).is_loopback:
        sys.stderr.write(
            f"warning: listening on {options['host']}: whoever reaches this address can read and change all data; "
            "this is a tool for development, with no encryption\n"
        )
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        emulator = Emulator(visibility=(visibility.mode, visibility.value), **options)
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"cannot start on port {options['port']} with data in {options['data']}: {error}\n")
        return 1
    with emulator:
        sys.stdout.write(f"listening on {emulator.url}\n")
        sys.stdout.flush()
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
