"""Load records into an index: nothing lost, in bounded memory, at full speed. Knows nothing of Airflow.

Data goes one way, and each step is a module: :mod:`.sources` reads, :mod:`.records` checks and writes short text,
:mod:`.chunks` cuts, :mod:`.sending` says which chunk may go when, :mod:`.refusals` delivers it, :mod:`.report` sums
up. :mod:`.pipeline` puts these in a row, and :mod:`.engine` runs it to its end. Beside them: :mod:`.rejects` keeps
what was refused, :mod:`.checkpoint` remembers how far a load has come, :mod:`.probes` chooses the records by which
it can be recognised in the index.

A name is loaded when it is first asked for: :class:`IngestOptions`, which says what can never work, is light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_vectorize.ingest.checkpoint import Checkpoint
    from airflow_provider_vectorize.ingest.engine import Client, ingest
    from airflow_provider_vectorize.ingest.files import SourceFile, expand
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
    "Client": "engine",
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
