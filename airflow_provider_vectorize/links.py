"""Extra links of the operators and sensors: buttons on a task's page in Airflow's web interface.

Airflow 2 asks for a link in the web server, and Airflow 3 in the worker at the end of each try: both read what the
task pushed as an XCom when it began, so that the link is there in every state.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_vectorize.runtime.storage import Path

log = logging.getLogger(__name__)

DASHBOARD = "https://dash.cloudflare.com"


class _PushedLink(BaseOperatorLink):
    key: ClassVar[str]

    #: Without a value in this attribute of the operator there is nothing to lead to.
    needs: ClassVar[str] = "do_xcom_push"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Give the address that the task has pushed; empty, which Airflow shows as a button without use, if none."""
        # Airflow 3 logs an error about an XCom that is not there.
        if not (getattr(operator, "do_xcom_push", True) and getattr(operator, self.needs, True)):
            return ""
        return XCom.get_value(ti_key=ti_key, key=self.key) or ""


class VectorizeIndexLink(_PushedLink):
    """*Vectorize index*: the page of the index in Cloudflare's dashboard. XCom key ``index_url``."""

    name = "Vectorize index"
    key = "index_url"


class VectorizeRejectsLink(_PushedLink):
    """*Rejects*: the folder of the refused records, where its storage has a page. XCom key ``rejects_url``."""

    name = "Rejects"
    key = "rejects_url"
    needs = "rejects_path"


def index_url(account: str, index: str) -> str:
    """Give the address of an index in Cloudflare's dashboard."""
    return f"{DASHBOARD}/{quote(account, safe='')}/ai/vectorize/{quote(index, safe='')}"


def folder_url(path: Path) -> str | None:
    """Give the address of a folder's page, for a person; None where its storage has none.

    :param path: ``https://``, ``gs://``, or ``s3://`` if it is Amazon's own.
    """
    parts = urlsplit(str(path))
    bucket, folder = parts.netloc.rpartition("@")[2], parts.path.strip("/")
    match parts.scheme:
        case "http" | "https":
            return str(path)
        case "gs" | "gcs":
            return f"https://console.cloud.google.com/storage/browser/{quote(f'{bucket}/{folder}')}"
        case "s3" if not _own_endpoint(path):
            prefix = urlencode({"prefix": f"{folder}/"})
            return f"https://console.aws.amazon.com/s3/buckets/{quote(bucket)}?{prefix}"
        case _:
            return None


def _own_endpoint(path: Path) -> bool:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    store = ObjectStoragePath(str(path)).fs
    return bool(getattr(store, "endpoint_url", None) or (store.client_kwargs or {}).get("endpoint_url"))


def push_links(
    operator: Any,
    context: Mapping[str, Any],
    index_name: str | None,
    rejects_path: Path | None = None,
) -> None:
    """Push what the links show, if the task pushes XComs. Nothing of it can fail the task.

    :param operator: with a ``hook``.
    :param context: of its task.
    :param index_name: None: the connection's.
    :param rejects_path: folder of the refused records.
    """
    if not operator.do_xcom_push:
        return
    try:
        instance, hook = context["ti"], operator.hook
        url = index_url(hook.settings.account_id, hook.resolve_index_name(index_name))
        instance.xcom_push(key=VectorizeIndexLink.key, value=url)
        if rejects_path is not None:
            instance.xcom_push(key=VectorizeRejectsLink.key, value=folder_url(rejects_path) or "")
    except Exception as error:  # noqa: BLE001  # whatever is wrong here, the task itself says it better
        log.debug("No extra links: %s", error)
