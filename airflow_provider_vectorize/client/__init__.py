"""The REST API of Cloudflare Vectorize v2. Knows nothing of Airflow.

:class:`VectorizeClient` has a method for every operation; :mod:`.errors` draws the tree of what it raises,
:mod:`.types` has what it returns, :mod:`.limits` the limits of the API as constants.
"""

from airflow_provider_vectorize.client.client import VectorizeClient

__all__ = ["VectorizeClient"]
