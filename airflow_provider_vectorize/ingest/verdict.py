"""What is said of a load at its end: the remarks of a green one, the reasons of a red one."""

from __future__ import annotations

import logging

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    InvalidRecordError,
    TooManyRejectsError,
    VectorizeError,
)
from airflow_provider_vectorize.ingest.account import Account
from airflow_provider_vectorize.ingest.operations import Checks
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.rejects import MAX_NAMED, RejectsFolder, listing
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.wording import in_short_lines

log = logging.getLogger(__name__)


def remark(index_name: str, account: Account, options: IngestOptions, checker: Checks) -> None:
    """Say what the user should know of a load that went well."""
    remarks = []
    if checker.undocumented:
        fields = ", ".join(sorted(checker.undocumented))
        remarks.append(f"sent as they are, though the API does not document them: the fields {fields}")
    if options.unparsable_behavior == "discard":
        remarks.append('with unparsable_behavior="discard" the API does not tell how many records it dropped')
    for remark in remarks:
        log.warning("%s", in_short_lines(f"Load into {index_name}: {remark}"))
    account.remark(*remarks)


def judge(account: Account, options: IngestOptions, *, partial: bool) -> None:
    """Raise when a load that came to its end is red all the same.

    :param partial: records were left out on purpose, so that there may be nothing to load.
    """
    if account.records == 0 and not partial:
        raise EmptySourceError("There was nothing to load: not one record in the source")
    if account.rejected > options.max_rejects:
        raise TooManyRejectsError(
            f"{account.rejected} records were refused, and max_rejects is {options.max_rejects}"
        )
    if not account.mutation_ids and not partial:
        raise TooManyRejectsError(f"All {account.rejected} records were refused: nothing was loaded")


def warn(index_name: str, account: Account, folder: RejectsFolder | None) -> None:
    """Name what a load that is green has refused."""
    if account.rejected:
        text = f"Load into {index_name}: green without these. {_refused(account, folder)}"
        log.warning("%s", in_short_lines(text))


def _refused(account: Account, folder: RejectsFolder | None) -> str:
    where = "" if folder is None else f", all of them in {folder.name}"
    return f"Refused records ({account.rejected}{where}):\n{listing(account.named, account.rejected)}"


def explain(
    error: VectorizeError, account: Account, folder: RejectsFolder | None, report: Report, *, blind: bool
) -> str:
    """Give the text of an error with what was accepted, and from where on nothing was."""
    lines = [str(error)]
    if account.rejected and not isinstance(error, InvalidRecordError):
        lines.append(_refused(account, folder))
    records = "" if report.accepted is None else f"{report.accepted} records in "
    lines.append(f"Accepted: {records}{report.batches} requests.")
    if report.unsettled:
        lines.append(
            "Sent, or about to be, without an answer, so that some may be in the index: "
            + "; ".join(map(str, report.unsettled[:MAX_NAMED]))
            + ("; ..." if len(report.unsettled) > MAX_NAMED else "")
            + "."
        )
    if report.stopped_at is not None:
        place = "{}, line {}".format(*report.stopped_at)
        lines.append(
            f"From {place} on, this try has loaded nothing; what an earlier try has sent may be in the index."
            if blind
            else f"From {place} on, nothing was accepted."
        )
    return "\n".join(lines)
