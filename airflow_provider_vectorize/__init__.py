"""Apache Airflow provider for Cloudflare Vectorize."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

#: What Airflow 3 calls assets, Airflow 2 called datasets.
_ASSET_URI = {
    "schemes": ["vectorize"],
    "handler": "airflow_provider_vectorize.assets.sanitize_uri",
    "factory": "airflow_provider_vectorize.assets.vectorize_index",
    "to_openlineage_converter": "airflow_provider_vectorize.assets.convert_to_openlineage",
}


def get_provider_info() -> dict[str, Any]:
    """Describe the provider to Airflow: entry point ``apache_airflow_provider``."""
    integration = "Cloudflare Vectorize"
    return {
        "package-name": "airflow-provider-vectorize",
        "name": "Cloudflare Vectorize",
        "description": "Load embeddings into Cloudflare Vectorize, and know when they can be seen.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://developers.cloudflare.com/vectorize/",
                "how-to-guide": [
                    "/example_dags/example_vectorize_approval.py",
                    "/example_dags/example_vectorize_arriving.py",
                    "/example_dags/example_vectorize_backup.py",
                    "/example_dags/example_vectorize_blue_green.py",
                    "/example_dags/example_vectorize_deferrable.py",
                    "/example_dags/example_vectorize_index.py",
                    "/example_dags/example_vectorize_nightly.py",
                    "/example_dags/example_vectorize_rag.py",
                    "/example_dags/example_vectorize_rag_sync.py",
                    "/example_dags/example_vectorize_scheduled.py",
                    "/example_dags/example_vectorize_sync.py",
                    "/example_dags/example_vectorize_upsert.py",
                    "/example_dags/example_vectorize_xcom.py",
                ],
                "tags": ["ai", "embeddings", "service"],
            }
        ],
        "hooks": [
            {
                "integration-name": integration,
                "python-modules": ["airflow_provider_vectorize.hooks.vectorize"],
            }
        ],
        "operators": [
            {
                "integration-name": integration,
                "python-modules": [
                    "airflow_provider_vectorize.operators.index",
                    "airflow_provider_vectorize.operators.sync",
                    "airflow_provider_vectorize.operators.vectorize",
                    "airflow_provider_vectorize.operators.vectors",
                ],
            }
        ],
        "task-decorators": [
            {
                "name": "vectorize_upsert",
                "class-name": "airflow_provider_vectorize.decorators.vectorize.vectorize_upsert_task",
            },
            {
                "name": "vectorize_sync",
                "class-name": "airflow_provider_vectorize.decorators.vectorize.vectorize_sync_task",
            },
        ],
        "sensors": [
            {
                "integration-name": integration,
                "python-modules": ["airflow_provider_vectorize.sensors.vectorize"],
            }
        ],
        "triggers": [
            {
                "integration-name": integration,
                "python-modules": [
                    "airflow_provider_vectorize.triggers.objects",
                    "airflow_provider_vectorize.triggers.vectorize",
                ],
            }
        ],
        "asset-uris": [_ASSET_URI],
        "dataset-uris": [_ASSET_URI],
        "extra-links": [
            "airflow_provider_vectorize.links.VectorizeIndexLink",
            "airflow_provider_vectorize.links.VectorizeRejectsLink",
        ],
        "connection-types": [
            {
                "connection-type": "vectorize",
                "hook-class-name": "airflow_provider_vectorize.hooks.vectorize.VectorizeHook",
                "hook-name": "Cloudflare Vectorize",
                "ui-field-behaviour": {
                    "hidden-fields": [],
                    "relabeling": {
                        "login": "Account ID",
                        "password": "API token",
                        "host": "API address",
                        "schema": "Scheme (https unless it says http)",
                    },
                    "placeholders": {
                        "login": "32 hex characters",
                        "password": "needs the permission Vectorize Write",
                        "host": "leave blank for Cloudflare's",
                        "port": "443",
                        "schema": "leave blank for https",
                        "index_name": "my-index",
                        "timeout": "60",
                        "max_attempts": "8",
                        "verify": "true",
                    },
                },
                "conn-fields": {
                    "index_name": {
                        "label": "Default index",
                        "description": "Used wherever a task names no index; none by default. Only the Account ID and "
                        "the API token are needed, and port 443 for the Test button of Airflow 3.3.",
                        "schema": {
                            "type": ["string", "null"],
                            "maxLength": 64,
                            "pattern": "^[a-z]+[a-z0-9_-]*[a-z0-9]+$",
                        },
                    },
                    "auth_email": {
                        "label": "E-mail of the Global API key",
                        "description": "Only with the legacy Global API key as the password.",
                        "schema": {"type": ["string", "null"], "format": "email"},
                    },
                    "timeout": {
                        "label": "Timeout",
                        "description": "Seconds to wait for the next byte of an answer; 60 by default.",
                        "schema": {"type": ["number", "null"], "minimum": 1},
                    },
                    "max_attempts": {
                        "label": "Attempts",
                        "description": "Requests for one call before it fails; 8 by default.",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                    },
                    "verify": {
                        "label": "Verify TLS",
                        "description": "true (the default), false, or the path of a CA bundle.",
                        "schema": {"type": ["string", "null"]},
                    },
                },
            }
        ],
    }
