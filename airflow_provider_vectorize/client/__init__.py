"""The REST API of Cloudflare Vectorize v2. Knows nothing of Airflow."""
