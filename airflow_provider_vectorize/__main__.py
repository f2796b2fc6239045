"""``python -m airflow_provider_vectorize plan SOURCE``: what a load will take, before it does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from airflow_provider_vectorize.client.errors import VectorizeError
from airflow_provider_vectorize.client.limits import MAX_DIMENSIONS, MIN_DIMENSIONS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_vectorize", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    plan = commands.add_parser(
        "plan",
        help="read a source as a load would, and tell requests, bytes, quota and price; nothing is sent",
    )
    plan.add_argument(
        "source", nargs="+", help="path or glob in anything that Airflow's object storage reaches"
    )
    where = plan.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--dimensions",
        type=int,
        help=f"of the index, {MIN_DIMENSIONS} to {MAX_DIMENSIONS}: no account is needed",
    )
    where.add_argument("--index-name", help="ask the index for its dimensions")
    plan.add_argument("--conn-id", default="vectorize_default", help="connection, for --index-name")
    plan.add_argument("--namespace", help="for records that have none")
    plan.add_argument("--json", action="store_true", help="as JSON, not as a table")
    chosen = parser.parse_args(arguments)

    from airflow_provider_vectorize.hooks.vectorize import VectorizeHook

    try:
        with redirect_stdout(sys.stderr):  # where Airflow's log goes
            planned = VectorizeHook(chosen.conn_id).plan(
                chosen.index_name,
                source=chosen.source,
                dimensions=chosen.dimensions,
                namespace=chosen.namespace,
            )
    except VectorizeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{json.dumps(planned.to_dict()) if chosen.json else planned}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
