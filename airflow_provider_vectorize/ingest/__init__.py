"""Load records into an index: nothing lost, in bounded memory, at full speed. Knows nothing of Airflow.

The way of a record, module by module: :mod:`.sources` (over :mod:`.files`, :mod:`.unpacking`, :mod:`.globs` and
:mod:`.lines`) reads it, :mod:`.records` checks it and writes it as short text, :mod:`.chunks` puts it into a chunk,
:mod:`.sending` says when that chunk may go and takes it there, :mod:`.refusals` delivers it, in parts if the API
refuses it, as an outcome of :mod:`.outcomes`; :mod:`.account` enters it, :mod:`.checkpoint` keeps the account for the
next try, and :mod:`.report` and :mod:`.verdict` tell of it. :mod:`.engine` is the loop from the first to the last.
Beside the way: :mod:`.rejects` keeps what was refused, and :mod:`.probes` chooses the records by which a load can be
recognised in the index. :mod:`.operations` says how an upsert, an insert and a delete differ: a delete's records are
the ids of :mod:`.ids`.

A name is loaded when it is first asked for: :class:`IngestOptions`, which says what can never work, is light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_vectorize.ingest.checkpoint import Checkpoint
    from airflow_provider_vectorize.ingest.engine import ingest
    from airflow_provider_vectorize.ingest.files import SourceFile, expand
    from airflow_provider_vectorize.ingest.operations import Client
    from airflow_provider_vectorize.ingest.options import IngestOptions
    from airflow_provider_vectorize.ingest.rejects import Reject, RejectsFolder
    from airflow_provider_vectorize.ingest.report import Report

__all__ = [
    "Checkpoint",
    "Client",
    "IngestOptions",
    "Reject",
    "RejectsFolder",
    "Report",
    "SourceFile",
    "expand",
    "ingest",
]

_MODULES = {
    "Checkpoint": "checkpoint",
    "Client": "operations",
    "IngestOptions": "options",
    "Reject": "rejects",
    "RejectsFolder": "rejects",
    "Report": "report",
    "SourceFile": "files",
    "expand": "files",
    "ingest": "engine",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
