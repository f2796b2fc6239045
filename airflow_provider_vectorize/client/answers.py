"""What the API answers: the envelope that every answer has, and the results that it may hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from airflow_provider_vectorize.client.errors import (
    RateLimitError,
    UnexpectedAnswerError,
    VectorizeApiError,
    api_error_class,
)
from airflow_provider_vectorize.client.limits import MAX_MUTATION_ID_CHARS
from airflow_provider_vectorize.client.types import Mutation

_T = TypeVar("_T")

#: Causes of an error that are repeated.
_MAX_CHAIN = 5

_MUTATION_ID = re.compile(rf"[!-~]{{1,{MAX_MUTATION_ID_CHARS}}}")


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer.

    :param operation: the call, such as ``upsert``.
    :param result: the ``result`` of the envelope.
    :param messages: what the API remarked, as text.
    :param attempts: requests that it took.
    """

    operation: str
    result: Any
    messages: tuple[str, ...]
    attempts: int

    def mutation(self) -> Mutation:
        """Read the mutation of a write."""
        mutation_id = self.result.get("mutationId") if isinstance(self.result, dict) else None
        if not isinstance(mutation_id, str) or not _MUTATION_ID.fullmatch(mutation_id):
            raise self.unusable(
                f"it has no mutation id of 1 to {MAX_MUTATION_ID_CHARS} visible characters, so the write may not be "
                "accepted"
            )
        return Mutation(mutation_id, self.attempts, self.messages)

    def item(self, reader: Callable[[Any], _T]) -> _T:
        """Read the result as one thing."""
        return self._read(reader, self.result)

    def items(self, reader: Callable[[Any], _T], key: str | None = None) -> list[_T]:
        """Read a list of things.

        :param key: where in the result it is; None: the result is the list.
        """
        found = self.result
        if key is not None:
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, list):
            raise self.unusable("its result is not the list that the API documents")
        return [self._read(reader, each) for each in found]

    def unusable(self, what: str) -> UnexpectedAnswerError:
        """Make the error for a success that is none."""
        return UnexpectedAnswerError(
            f"{self.operation}: the answer is not usable: {what}", status=200, operation=self.operation
        )

    def _read(self, reader: Callable[[Any], _T], value: Any) -> _T:
        try:
            return reader(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.unusable(f"its result is not what the API documents ({error!r})") from error


def parse_answer(
    name: str,
    operation: str,
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    attempts: int,
    clean: Callable[[Any], str],
) -> Answer | VectorizeApiError:
    """Read an answer; give the error that it means when it does not say success.

    :param name: the call and what it is about, for messages.
    :param operation: the call, such as ``upsert``.
    :param attempts: requests that it took.
    :param clean: makes text of what comes from outside.
    """
    envelope = _object(content)
    errors = _objects(envelope.get("errors"))
    if 200 <= status < 300 and envelope.get("success") is True and not envelope.get("errors"):
        messages = tuple(clean(_say(item)) for item in _objects(envelope.get("messages")))
        return Answer(operation, envelope.get("result"), messages, attempts)

    first = errors[0] if errors else {}
    code = first.get("code")
    code = code if isinstance(code, int) else None
    # The first code stands in front already.
    reason = clean("; ".join([_say(first | {"code": None}), *map(_say, errors[1:])]) if errors else "")
    kind = api_error_class(status, code)
    text = f"{name} failed: HTTP {status}"
    if code is not None:
        text += f", code {code}"
    if reason:
        text += f": {reason}"
    elif 300 <= status < 400:
        text += f": redirects are not followed (to {clean(headers.get('Location', 'nowhere'))!r})"
    elif kind is UnexpectedAnswerError:
        text += f": the answer does not say success: {clean(content[:4096].decode(errors='replace'))[:200]!r}"
    ray_id = clean(headers.get("cf-ray"))
    if ray_id:
        text += f" (ray {ray_id})"
    if kind.hint:
        text += f". {kind.hint}"
    source = first.get("source")
    return kind(
        text,
        status=status,
        code=code,
        reason=reason,
        operation=operation,
        documentation_url=clean(first.get("documentation_url")) or None,
        pointer=clean(source.get("pointer")) or None if isinstance(source, dict) else None,
        ray_id=ray_id or None,
        retry_after=_seconds(headers.get("Retry-After")) if issubclass(kind, RateLimitError) else None,
    )


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        envelope = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _say(item: Mapping[str, Any], depth: int = 3) -> str:
    text = str(item.get("message") or "(no message)")
    if code := item.get("code"):
        text = f"{text} [{code}]"
    if url := item.get("documentation_url"):
        text = f"{text}, see {url}"
    chain = [_say(cause, depth - 1) for cause in _objects(item.get("error_chain"))[:_MAX_CHAIN] if depth]
    return f"{text} ({'; '.join(chain)})" if chain else text


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdecimal() else None
