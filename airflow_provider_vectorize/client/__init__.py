"""The REST API of Cloudflare Vectorize v2. Knows nothing of Airflow.

:class:`VectorizeClient` has a method for every operation; :mod:`.errors` draws the tree of what it raises,
:mod:`.types` has what it returns, :mod:`.limits` the limits of the API as constants. The client is loaded when it is
first asked for: errors, types and limits are light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_vectorize.client.client import VectorizeClient

__all__ = ["VectorizeClient"]


def __getattr__(name: str) -> Any:
    if name != "VectorizeClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airflow_provider_vectorize.client.client import VectorizeClient

    return VectorizeClient
