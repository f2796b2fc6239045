"""Exact nearest-neighbour search. Pure; numpy is imported at the first search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt


class Hit(NamedTuple):
    """A row of the matrix and its score."""

    row: int
    score: float


def matrix(values: Sequence[bytes], dimensions: int) -> npt.NDArray[np.float32]:
    """Stack stored values.

    :param values: n little-endian float32 vectors.
    :returns: float32, shape (n, dimensions).
    """
    import numpy as np

    return np.frombuffer(b"".join(values), dtype="<f4").reshape(-1, dimensions)


def scores(metric: str, rows: npt.NDArray[np.float32], query: Sequence[float]) -> npt.NDArray[np.float64]:
    """Score every row as the API does.

    :param metric: ``cosine`` (-1..1, higher is closer), ``euclidean`` (0 is identical) or ``dot-product``
        (lower is closer: the product with its sign turned).
    :param rows: float32, shape (n, dimensions).
    :param query: ``dimensions`` numbers, rounded to float32 as stored vectors are.
    :returns: float64, shape (n,).
    """
    import numpy as np

    wanted = np.asarray(query, dtype=np.float32).astype(np.float64)
    # In blocks, so that the float64 copy stays small whatever the size of the index.
    blocks = [
        _block(metric, rows[at : at + 4096].astype(np.float64), wanted) for at in range(0, len(rows), 4096)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _block(metric: str, rows: Any, query: Any) -> Any:
    import numpy as np

    if metric == "euclidean":
        return np.linalg.norm(rows - query, axis=1)
    products = rows @ query
    if metric == "dot-product":
        return -products
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    # A vector of zeros has no direction: nothing is near it.
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def nearest(
    metric: str,
    rows: npt.NDArray[np.float32],
    query: Sequence[float],
    allowed: Sequence[int] | None,
    top_k: int,
) -> list[Hit]:
    """Find the closest rows, closest first; rows that score the same in the order of the matrix.

    :param allowed: the rows that may be found; None for all.
    """
    import numpy as np

    candidates = np.arange(len(rows)) if allowed is None else np.asarray(allowed, dtype=np.int64)
    scored = scores(metric, rows if allowed is None else rows[candidates], query)
    order = np.argsort(-scored if metric == "cosine" else scored, kind="stable")[:top_k]
    return [Hit(int(candidates[i]), float(scored[i])) for i in order]
