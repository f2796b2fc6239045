"""Apache Airflow provider for Cloudflare Vectorize."""

from __future__ import annotations

__version__ = "0.1.0"
