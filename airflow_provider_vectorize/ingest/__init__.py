"""Load records into an index: nothing lost, in bounded memory, at full speed. Knows nothing of Airflow.

Data goes one way, and each step is a module: :mod:`.sources` reads, :mod:`.records` checks and writes short text,
:mod:`.chunks` cuts, :mod:`.sending` says which chunk may go when, :mod:`.refusals` delivers it, :mod:`.report` sums
up. :mod:`.pipeline` puts these in a row, and :mod:`.engine` runs it to its end. Beside them: :mod:`.rejects` keeps
what was refused, :mod:`.checkpoint` remembers how far a load has come, :mod:`.probes` chooses the records by which
it can be recognised in the index.
"""

from airflow_provider_vectorize.ingest.checkpoint import Checkpoint
from airflow_provider_vectorize.ingest.engine import ingest
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.pipeline import Client, Pipeline
from airflow_provider_vectorize.ingest.rejects import Reject, RejectsFolder
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.ingest.sources import SourceFile, expand

__all__ = [
    "Checkpoint",
    "Client",
    "IngestOptions",
    "Outcome",
    "Pipeline",
    "Reject",
    "RejectsFolder",
    "Report",
    "SourceFile",
    "expand",
    "ingest",
]
