"""Load records into an index: nothing lost, in bounded memory, at full speed. Knows nothing of Airflow.

The way of a record, module by module:

- :mod:`.sources` reads it: of :mod:`.files`, which :mod:`.globs` finds, :mod:`.unpacking` unpacks and :mod:`.pieces`
  cuts, the :mod:`.lines`; of :mod:`.tables` the rows, by :mod:`.arrow` and :mod:`.columns`;
- :mod:`.records` checks it, its :mod:`.metadata` too, and writes it as short text, or raises what :mod:`.flaws` holds,
  in the words of :mod:`.diagnosis`; a delete's records are :mod:`.ids`;
- :mod:`.chunks` puts it into a chunk, which :mod:`.flushing` sends when the source keeps it waiting;
- :mod:`.sending` says when that chunk may go, and takes it there by the request that :mod:`.operations` makes of it;
- :mod:`.refusals` takes the chunk apart if the API refuses it: what became of it is one of :mod:`.outcomes`;
- :mod:`.account` enters that, :mod:`.checkpoint` keeps the account for the next try, :mod:`.rejects` what was refused;
- :mod:`.report` and :mod:`.verdict` tell of it.

:mod:`.engine` is the loop from the first to the last, and :mod:`.options` says how. :mod:`.following` is who may leave
records out, and :mod:`.probes` chooses those by which a load can be recognised in the index.

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
