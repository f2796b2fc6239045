"""A local stand-in of the Cloudflare Vectorize REST API, for development and tests.

It knows nothing of the rest of this package, so that it is an independent witness of the API.
"""

from __future__ import annotations

from airflow_provider_vectorize.emulator.instance import Emulator
from airflow_provider_vectorize.emulator.settings import RateLimit

__all__ = ["Emulator", "RateLimit"]
