"""Rows of tables as records: Parquet files, and frames of any library by Arrow's C interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Literal
from urllib.parse import unquote

import orjson

from airflow_provider_vectorize.client.errors import InvalidArgumentError, SourceError, VectorizeError
from airflow_provider_vectorize.ingest.arrow import BATCH_BYTES, arrays, pyarrow, rows, small
from airflow_provider_vectorize.ingest.columns import Columns
from airflow_provider_vectorize.ingest.files import FETCH_BYTES, SourceFile, asking
from airflow_provider_vectorize.ingest.lines import START, Interrupt, Item, Items, Position
from airflow_provider_vectorize.ingest.records import MAX_LINE_BYTES, FlawError, Row, parse
from airflow_provider_vectorize.ingest.sources import Files, Source, as_source

Format = Literal["auto", "ndjson", "parquet"]

_MAX_ROWS = 4_096
#: What Hive and Spark write for null in a folder's name.
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def mapped(records: Any, columns: Mapping[str, Any] | None, format: Format = "auto") -> Source:  # noqa: A002
    """Choose how an input is read, tables and columns of any name included.

    :param records: what :func:`~.sources.as_source` takes; or a table, a frame, or an iterable of record batches.
    :param columns: see :class:`~.columns.Columns`; None: the fields' own names.
    :param format: of files: ``auto`` goes by the ending (``.parquet``, ``.pq``).
    :raises InvalidArgumentError: naming what the columns cannot be.
    """
    chosen = None if columns is None else Columns(columns)
    if is_table(records):
        return Frame(records, chosen or Columns({}))
    source = as_source(records)
    if isinstance(source, Files):
        tables = [is_parquet(file, format) for file in source.files]
        return source if chosen is None and not any(tables) else TableFiles(source, tables, chosen)
    return Mapped(source, chosen)


def is_table(records: Any) -> bool:
    """Tell whether something is a table or a frame: by what it offers, not by its library."""
    return any(
        hasattr(records, each) for each in ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__")
    )


def is_parquet(file: SourceFile, format: Format) -> bool:  # noqa: A002
    """Tell whether a file is read as Parquet."""
    return format == "parquet" or (format == "auto" and file.path.lower().endswith((".parquet", ".pq")))


class TableFiles:
    """Files of which some are Parquet, or whose columns have other names.

    :param files: all of them.
    :param tables: which of them are Parquet.
    :param columns: None: the fields' own names.
    """

    def __init__(self, files: Files, tables: Sequence[bool], columns: Columns | None) -> None:
        self._files = files
        self._tables = tables
        self._columns = columns
        self.names = files.names
        self.extent = files.extent

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """As :meth:`Source.read`; a table is entered at the row group that holds the row."""
        for number in range(start.source, len(self._tables)):
            begin = start if number == start.source else Position(number)
            file = self._files.files[number]
            if self._tables[number]:
                yield from _read_parquet(file, self._columns or Columns({}), begin, interrupt)
            else:
                lines = self._files.read_one(number, begin, interrupt)
                yield from _rows_of(lines, self._columns, _partitions(file.path), begin, file.name)

    def identity(self) -> list[list[Any]] | None:
        """As that of the files, with the columns."""
        marks = self._files.identity()
        return marks and [*marks, ["columns", _given(self._columns)]]


class Mapped:
    """An input in memory, or an iterable, whose records have other names, or are batches of rows.

    :param source: the input.
    :param columns: None: the fields' own names.
    """

    def __init__(self, source: Source, columns: Columns | None) -> None:
        self._source = source
        self._columns = columns
        self.names = source.names
        self.extent = source.extent

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """As :meth:`Source.read`."""
        items = self._source.read(start, interrupt)
        row = start
        for item in _rows_of(items, self._columns, {}, start, self.names[0]):
            if not is_table(item.data):
                yield item
                continue
            for record in _rows(item.data, self._columns or Columns({}), self.names[0]):
                after = Position(0, row.line + 1)
                yield Item(record, row, after)
                row = after

    def identity(self) -> None:
        """Unknown, as that of what it reads."""


class Frame:
    """A table or a frame in memory.

    :param table: anything with Arrow's C interface, or the dataframe protocol.
    :param columns: which column is what.
    """

    names = ("vectors",)
    extent = "a table"

    def __init__(self, table: Any, columns: Columns) -> None:
        self._table = table
        self._columns = columns

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """As :meth:`Source.read`."""
        before = START
        for record in _rows(self._table, self._columns, self.names[0]):
            interrupt()
            after = Position(0, before.line + 1)
            if before.line >= start.line:
                yield Item(record, before, after)
            before = after

    def identity(self) -> None:
        """Unknown: it is not worth hashing."""


def _rows_of(
    items: Items, columns: Columns | None, partitions: Mapping[str, Any], start: Position, name: str
) -> Items:
    """Give the records of lines or mappings; what is no mapping is left to the checks."""
    first = start.line == 0
    with closing(items):
        for item in items:
            if columns is None or is_table(item.data):
                yield item
                continue
            try:
                row = {**partitions, **parse(item.data)}
            except FlawError:
                yield item
                continue
            if "record" in row and columns.values not in row:
                yield item  # a line of a rejects folder: it holds a record as it is loaded
                continue
            if first:
                _checked(columns, list(row), name)
                first = False
            yield Item(columns.record(row), item.start, item.end)


def _read_parquet(file: SourceFile, columns: Columns, start: Position, interrupt: Interrupt) -> Items:
    arrow, parquet = pyarrow(), _pyarrow_parquet()
    partitions = _partitions(file.path)
    with asking(file.name), file.fs.open(file.path, "rb", block_size=FETCH_BYTES) as raw:
        try:
            metadata = parquet.read_metadata(raw)
            # In a stream of pages: a row group of Spark or pandas may be larger than memory.
            opened = parquet.ParquetFile(
                raw,
                metadata=metadata,
                read_dictionary=_texts(metadata),
                buffer_size=1 << 20,
                pre_buffer=False,
            )
            schema = opened.schema_arrow
            names = [*schema.names, *(name for name in partitions if name not in schema.names)]
            wanted = [name for name in _checked(columns, names, file.name) if name in schema.names]
            before = 0
            for group in range(metadata.num_row_groups):
                described = metadata.row_group(group)
                size = described.num_rows
                meant = file.span is None or _begin(described) in file.span
                if not meant or before + size <= start.line:
                    before += size
                    continue
                row = before
                for batch in opened.iter_batches(
                    _batch_rows(metadata, group), row_groups=[group], columns=wanted, use_threads=False
                ):
                    interrupt()
                    if row + len(batch) > start.line:
                        place = Position(start.source, max(row, start.line))
                        for part in small(batch.slice(place.line - row)):
                            for record in _records(part, columns, partitions):
                                after = Position(start.source, place.line + 1)
                                yield Item(record, place, after)
                                place = after
                    row += len(batch)
                before += size
        except arrow.ArrowException as error:
            raise SourceError(f"{file.name} cannot be read as Parquet: {error}") from error


def group_begins(file: SourceFile) -> list[int]:
    """Give the byte at which each row group of a Parquet file begins.

    :raises SourceError: it cannot be read.
    """
    arrow, parquet = pyarrow(), _pyarrow_parquet()
    with asking(file.name), file.fs.open(file.path, "rb") as raw:
        try:
            described = parquet.read_metadata(raw)
        except arrow.ArrowException as error:
            raise SourceError(f"{file.name} cannot be read as Parquet: {error}") from error
    return sorted(_begin(described.row_group(number)) for number in range(described.num_row_groups))


def _begin(group: Any) -> int:
    first = group.column(0)
    return int(min(each for each in (first.dictionary_page_offset, first.data_page_offset) if each))


def _texts(metadata: Any) -> list[str]:
    """Name what is read as dictionaries: a few bytes of a file may say one long text for every row."""
    columns = map(metadata.schema.column, range(len(metadata.schema)))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _batch_rows(metadata: Any, number: int) -> int:
    group = metadata.row_group(number)
    # However it is packed, a value unfolds to so many bytes, and a text, see above, to its place in a dictionary.
    unfolded = sum(
        group.column(each).num_values * max(8, metadata.schema.column(each).length or 0)
        for each in range(group.num_columns)
    )
    size = max(1, (group.total_byte_size + unfolded) // max(1, group.num_rows))
    return int(max(1, min(_MAX_ROWS, BATCH_BYTES // size)))


def _rows(table: Any, columns: Columns, name: str) -> Iterator[dict[str, Any]]:
    """Give the records of a table or of a record batch."""
    arrow = pyarrow()
    try:
        if hasattr(table, "__arrow_c_stream__"):
            batches = iter(arrow.RecordBatchReader.from_stream(table))
        elif hasattr(table, "__arrow_c_array__"):
            batches = iter([arrow.record_batch(table)])
        else:
            from pyarrow import interchange

            batches = iter(interchange.from_dataframe(table).to_batches())
        for batch in batches:
            wanted = _checked(columns, batch.schema.names, name)
            for begin in range(0, len(batch), _MAX_ROWS):
                yield from _records(batch.select(wanted).slice(begin, _MAX_ROWS), columns, {})
    except VectorizeError:
        raise
    except Exception as error:
        raise SourceError(f"{name} cannot be read as a table: {type(error).__name__}: {error}") from error


def _records(batch: Any, columns: Columns, partitions: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    values, doubtful = arrays(batch.column(columns.values))
    others = [name for name in batch.schema.names if name != columns.values]
    for number, (row, array) in enumerate(zip(rows(batch.select(others)), values, strict=True)):
        row[columns.values] = _from_json(array)  # as dlt writes a list that it is not to make a table of
        record = columns.record({**partitions, **row})
        if "metadata" in record:  # as an export writes it, since the types may differ from row to row
            record["metadata"] = _from_json(record["metadata"])
        yield record if number in doubtful else Row(record)


def _checked(columns: Columns, names: Sequence[str], where: str) -> list[str]:
    try:
        return columns.wanted(names)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from None


def _partitions(path: str) -> dict[str, Any]:
    """Read the columns that Hive keeps in the names of folders: ``tenant=acme/part.parquet``."""
    pairs = (part.partition("=") for part in path.split("/")[:-1] if "=" in part)
    return {
        unquote(name): None if value == _HIVE_NULL else unquote(value) for name, _, value in pairs if name
    }


def _from_json(given: Any) -> Any:
    # Unfolded, a text may take twenty times its bytes: no longer one than a line may be.
    if not isinstance(given, str) or len(given) > MAX_LINE_BYTES:
        return given
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError:
        return given  # the checks say what is wrong with it


def _given(columns: Columns | None) -> Any:
    return None if columns is None else columns.given


def _pyarrow_parquet() -> Any:
    from pyarrow import parquet

    return parquet
