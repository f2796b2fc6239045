"""Everything that can go wrong, as one tree.

.. code-block:: text

    VectorizeError
    ├── VectorizeApiError            the API answered, and said no
    │   ├── AuthenticationError      token or account refused                 (HTTP 401, 403, code 10000 ...)
    │   ├── IndexNotFoundError       no such index, or deleted a moment ago   (codes 3000, 3005)
    │   ├── IndexExistsError         the name is taken                        (code 3002)
    │   ├── InvalidIndexError        a name or configuration that cannot be   (codes 3001, 3003)
    │   ├── MetadataIndexExistsError     the property has one                 (code 40004)
    │   ├── MetadataIndexNotFoundError   the property has none                (code 40005)
    │   ├── InvalidVectorError       a vector of an upload was refused        (codes 40008 ... 40023)
    │   ├── RateLimitError           too many requests                        (HTTP 429, code 40041)
    │   ├── ServerError              the service failed                       (HTTP 5xx, 408)
    │   └── UnexpectedAnswerError    an answer that the API does not document
    ├── TransportError               no answer: timeout, reset, TLS, DNS
    ├── InvalidArgumentError         a setting or an argument that can never work (also a ValueError)
    ├── IndexDriftError              an index is there, and is not as declared
    ├── InvalidRecordError           a record that breaks a limit of the API
    ├── TooManyRejectsError          more records were refused than ``max_rejects`` allows
    ├── SourceError                  the input is missing, breaks off or cannot be read
    ├── EmptySourceError             there was nothing to load
    ├── OutputError                  a file of answers or of an export cannot be written
    ├── RejectsError                 the folder for refused records cannot be written
    ├── IngestAbortedError           the load was told to stop
    ├── ManifestError                the manifest of a sync is damaged, held by another run, or out of reach
    ├── SyncGuardError               a sync was about to delete on doubtful word
    ├── VerificationError            the index does not hold what the source says
    ├── WaitAbortedError             the wait was told to stop
    └── MutationTimeoutError         the deadline of a wait has passed

Two marks steer what happens next: ``transient`` errors are repeated by the client itself, and ``permanent``
ones cannot be helped by running the same task again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class VectorizeError(Exception):
    """Base of every error of this package."""

    #: The client repeats the request.
    transient = False
    #: The same call will fail again, however often it is made.
    permanent = False
    #: Its cause is what code of the caller has raised, such as a generator of vectors.
    from_caller = False
    #: Of a load that failed: the :class:`~airflow_provider_vectorize.ingest.Report` of what was accepted; of an
    #: export: its report of what was saved.
    report: Any = None

    def __str__(self) -> str:
        # Parts of it may come from a file or a server.
        return "\n".join(map(printable, super().__str__().split("\n")))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def printable(text: str) -> str:
    """Escape what cannot be seen, or does something to a terminal: control characters, lone surrogates and the like.

    :param text: from a file or a server.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


def _rebuild(cls: type[VectorizeError], args: tuple[Any, ...], state: Mapping[str, Any]) -> VectorizeError:
    # The constructors take keywords, which the pickling of exceptions does not know.
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class VectorizeApiError(VectorizeError):
    """The API answered with an error.

    :param message: the whole text, with operation, status and code.
    :param status: HTTP status.
    :param code: first error code of the answer, None when it had none.
    :param reason: the API's own words for that code.
    :param operation: the call, such as ``upsert``.
    :param documentation_url: where the API says more, if it does.
    :param pointer: the part of the request that the API complains of, if it says.
    :param ray_id: Cloudflare's id of the request, for its support.
    :param retry_after: seconds that the API asks to wait.
    """

    permanent = True
    hint = ""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: int | None = None,
        reason: str = "",
        operation: str = "",
        documentation_url: str | None = None,
        pointer: str | None = None,
        ray_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.reason = reason
        self.operation = operation
        self.documentation_url = documentation_url
        self.pointer = pointer
        self.ray_id = ray_id
        self.retry_after = retry_after
        #: An earlier attempt of the same call may have been carried out, its answer being lost.
        self.after_lost_answer = False


class AuthenticationError(VectorizeApiError):
    """The token or the account was refused."""

    hint = (
        "Check the connection: login is the account ID, password an API token of it, without a leading 'Bearer '. Its "
        "permission must be Vectorize Write (Vectorize Read is enough to read and to wait)."
    )


class IndexNotFoundError(VectorizeApiError):
    """There is no such index, or it was deleted a short while ago."""

    hint = "Check the index name and the account ID (connection field login), or create the index first."


class IndexExistsError(VectorizeApiError):
    """An index of that name exists."""


class InvalidIndexError(VectorizeApiError):
    """The name or the configuration of an index to create breaks a rule of the API."""

    hint = "An index has 32 to 1,536 dimensions and the metric cosine, euclidean or dot-product, or a preset."


class MetadataIndexExistsError(VectorizeApiError):
    """The property has a metadata index already."""


class MetadataIndexNotFoundError(VectorizeApiError):
    """The property has no metadata index."""


class InvalidVectorError(VectorizeApiError):
    """A vector of the upload breaks a rule of the API. Nothing of that upload was accepted."""


class RateLimitError(VectorizeApiError):
    """Too many requests."""

    transient = True
    permanent = False
    hint = "The API allows 1,200 requests in 5 minutes to all that one user or token does, together."


class ServerError(VectorizeApiError):
    """The service failed, or did not get the request in time."""

    transient = True
    permanent = False


class UnexpectedAnswerError(VectorizeApiError):
    """The answer is not one that the API documents, so nothing can be concluded from it."""

    permanent = False


class TransportError(VectorizeError):
    """No answer arrived: a timeout, a connection refused or reset, TLS, DNS.

    :param message: the whole text.
    :param operation: the call, such as ``upsert``.
    :param transient: whether the same request may succeed a moment later.
    """

    def __init__(self, message: str, *, operation: str = "", transient: bool = True) -> None:
        super().__init__(message)
        self.operation = operation
        self.transient = transient


class InvalidArgumentError(VectorizeError, ValueError):
    """A setting or an argument that can never work; the text names it."""

    permanent = True


class IndexDriftError(VectorizeError):
    """An index is there, and is not as declared; the text names both."""

    permanent = True


class InvalidRecordError(VectorizeError):
    """A record breaks a limit of the API, or is no record at all.

    :param reason: what is wrong with it.
    :param source: path of the file, or the name of the argument.
    :param line: line in the source, or position in the list, counted from 1.
    :param record_id: the record's id, when it has one.
    :param code: short name of the rule, such as ``wrong_dimensions``.
    """

    permanent = True

    def __init__(self, reason: str, *, source: str, line: int, record_id: str | None, code: str) -> None:
        which = f" (id {record_id!r})" if record_id is not None else ""
        super().__init__(f"{source}, line {line}{which}: {reason} [{code}]")
        self.reason = reason
        self.source = source
        self.line = line
        self.record_id = record_id
        self.code = code


class TooManyRejectsError(VectorizeError):
    """More records were refused than ``max_rejects`` allows; the text names them."""

    permanent = True


class SourceError(VectorizeError):
    """The input is missing, breaks off, or cannot be read.

    :param message: the whole text.
    :param permanent: whether it stays so until somebody changes the input, its name or the installation.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class EmptySourceError(VectorizeError):
    """There was nothing to load."""


class OutputError(VectorizeError):
    """A file of answers or of an export cannot be written."""


class RejectsError(VectorizeError):
    """The folder for refused records cannot be written."""


class IngestAbortedError(VectorizeError):
    """The load was told to stop, and stopped."""


class ManifestError(VectorizeError):
    """The manifest of a sync is damaged, held by another run, or its folder cannot be used."""


class SyncGuardError(VectorizeError):
    """A sync was about to delete, or to write, on doubtful word. Nothing was deleted; the text says what to set."""

    permanent = True


class VerificationError(VectorizeError):
    """The index does not hold what the source says; the text names ids and what differs.

    :ivar ids: all of the expected ids that are missing or differ, as far as they were looked for.
    """

    ids: list[str] | tuple[str, ...] = ()


class WaitAbortedError(VectorizeError):
    """The wait was told to stop, and stopped; what it waited for was accepted all the same."""


class MutationTimeoutError(VectorizeError):
    """The deadline of a wait has passed before the write could be seen."""

    permanent = True


_BY_CODE: dict[int, type[VectorizeApiError]] = {
    3000: IndexNotFoundError,
    3001: InvalidIndexError,
    3002: IndexExistsError,
    3003: InvalidIndexError,
    3005: IndexNotFoundError,
    **dict.fromkeys((6003, 6102, 6103, 6111, 9103, 9106, 9107, 9109, 10000, 10001), AuthenticationError),
    40004: MetadataIndexExistsError,
    40005: MetadataIndexNotFoundError,
    40008: InvalidVectorError,
    40009: InvalidVectorError,
    40012: InvalidVectorError,
    40016: InvalidVectorError,
    40018: InvalidVectorError,
    40023: InvalidVectorError,
    40041: RateLimitError,
}


def api_error_class(status: int, code: int | None) -> type[VectorizeApiError]:
    """Choose the class of an API error: by its code first, since the HTTP status of some codes is uncertain.

    :param status: HTTP status of the answer.
    :param code: first error code in the answer, None when there is none.
    """
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == 429:
        return RateLimitError
    if status in (401, 403):
        return AuthenticationError
    if status >= 500 or status == 408:  # 408: the request did not arrive in time
        return ServerError
    return UnexpectedAnswerError if status < 400 else VectorizeApiError


__all__ = [
    name
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, Exception)
]
