"""The hook's questions: one to its caller, many to a file."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from typing import Any, Literal

from airflow_provider_vectorize.client.errors import InvalidArgumentError, SourceError
from airflow_provider_vectorize.hooks.base import ConnectedHook
from airflow_provider_vectorize.index.files import writing
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, Pace
from airflow_provider_vectorize.index.query import Query, answers, ask
from airflow_provider_vectorize.ingest.records import FlawError, parse
from airflow_provider_vectorize.ingest.sources import START, as_source
from airflow_provider_vectorize.runtime.storage import Path, Source, is_path, output_place, source_files
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.runtime.templates import refuse_leftovers


class QueryMethods(ConnectedHook):
    """Ask an index."""

    # The annotations are those that `HookToolset` of Airflow's common.ai makes a tool's schema of.
    def query(
        self,
        index_name: str | None = None,
        vector: list[float] | None = None,
        vector_id: str | None = None,
        top_k: int = 5,
        namespace: str | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002  # the API's own name for it
        return_values: bool = False,
        return_metadata: Literal["none", "indexed", "all"] = "none",
    ) -> list[dict[str, Any]]:
        """Find the stored vectors that are nearest to a vector, the closest first.

        :param index_name: the index to search; leave it out for the default of the connection.
        :param vector: what to look for: as many numbers as the index has dimensions. Give this or ``vector_id``.
        :param vector_id: id of a stored vector to look for others like it.
        :param top_k: number of matches, 1 to 100, and at most 50 with values or all metadata.
        :param namespace: look only in this namespace.
        :param filter: conditions on metadata that all must hold, such as
            ``{"lang": "en", "year": {"$gte": 2020, "$lt": 2030}}``; operators are $eq $ne $in $nin $lt $lte $gt $gte.
            Only properties with a metadata index can be found by it.
        :param return_values: whether to give the values of the matches too.
        :param return_metadata: ``none``, ``indexed`` (only indexed properties, texts cut to 64 bytes) or ``all``.
        :returns: a mapping for each match: ``id``, ``score`` (closer is higher for cosine, lower for euclidean and
            dot-product), and what was asked for of ``values``, ``metadata`` and ``namespace``.
        :raises InvalidArgumentError: naming the parameter and the rule that is broken; nothing was sent.
        """
        refuse_leftovers(namespace=namespace)
        query = Query(vector, vector_id, top_k, namespace, filter, return_values, return_metadata).check()
        with self._conn_until() as client:
            return ask(client, self.resolve_index_name(index_name), query)

    def query_many(
        self,
        index_name: str | None,
        queries: Iterable[Mapping[str, Any]] | Source,
        output_path: Path,
        *,
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        stop: threading.Event | None = None,
        **defaults: Any,
    ) -> int:
        """Ask many times, and write a line of NDJSON for each answer: ``query`` (from 1), ``id``, ``matches``.

        :param index_name: the index; None: the connection's.
        :param queries: mappings whose keys are the parameters of :meth:`query`, and ``id`` if they have one; or paths
            of vectors as they are loaded, each of which is asked with.
        :param output_path: a file anywhere that Airflow's object storage reaches; ``.gz`` at its end compresses. It is
            there once all answers are.
        :param requests_per_minute: of the 240 a minute that a token has for all that it does.
        :param stop: ends it when set.
        :param defaults: parameters of :meth:`query` for what a query leaves out.
        :returns: the number of answers.
        """
        pace = Pace(requests_per_minute, stop or TaskRun.current().stop)
        name = self.resolve_index_name(index_name)
        number = 0
        with (
            writing(*output_place(output_path)) as file,
            self._conn_until(stop) as client,
            closing(_read(queries, Query(**defaults))) as asked,
        ):
            for line in answers(client, name, asked, pace):
                file.write(line)
                number += 1
        self.log.info("Asked index %r %d times; the answers are in %s", name, number, output_path)
        return number


def _read(queries: Any, defaults: Query) -> Generator[tuple[str | None, Query], None, None]:
    paths = [queries] if is_path(queries) else queries
    if isinstance(paths, list | tuple) and paths and all(map(is_path, paths)):
        source = as_source(source_files(paths))
        with closing(source.read(START, lambda: None)) as items:
            for item in items:
                place = f"{source.names[item.end.source]}, line {item.end.line}"
                yield _merge(defaults, item.data, place)
    else:
        for number, given in enumerate(queries, 1):
            yield _merge(defaults, given, f"queries, number {number}")


def _merge(defaults: Query, data: Any, place: str) -> tuple[str | None, Query]:
    try:
        given = parse(data)
        query_id = given.get("id")
        return None if query_id is None else str(query_id), defaults.merged(given)
    except FlawError as flaw:
        raise SourceError(f"{place}: {flaw}") from None
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{place}: {error}") from None
