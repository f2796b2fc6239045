"""Assets of Airflow that stand for an index: ``vectorize://<account>/<index>``.

Light: a DAG file that names such an asset loads it at every parse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlsplit

from airflow.providers.common.compat.sdk import Asset

from airflow_provider_vectorize.client.arguments import check_account_id, check_index_name
from airflow_provider_vectorize.client.errors import InvalidArgumentError

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset

SCHEME = "vectorize"
FORM = f"{SCHEME}://<account>/<index>"


def vectorize_index(account: str, index: str, *, extra: dict[str, Any] | None = None) -> Asset:
    """Make the asset of an index, for ``outlets=``, ``inlets=`` and ``schedule=``.

    :param account: the account ID, as in the field login of the connection.
    :param index: the name of the index.
    :param extra: what Airflow shall keep with the asset.
    :raises InvalidArgumentError: either cannot be one.
    """
    return Asset(uri=index_uri(account, index), extra=extra)


def index_uri(account: str, index: str) -> str:
    """Give the URI of an index.

    :raises InvalidArgumentError: either cannot be one.
    """
    check_account_id(account)
    return f"{SCHEME}://{account}/{check_index_name(index)}"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check the URI of an asset, for Airflow: entry ``handler`` of the provider info.

    :raises ValueError: saying what is wrong with it.
    """
    account_and_index(uri)
    return uri


def account_and_index(uri: str | SplitResult) -> tuple[str, str]:
    """Read account and index from the URI of an asset.

    :raises InvalidArgumentError: it is not of the form ``vectorize://<account>/<index>``.
    """
    parts = urlsplit(uri) if isinstance(uri, str) else uri
    account, index = parts.netloc, parts.path.removeprefix("/")
    try:
        if parts.geturl() == index_uri(account, index):
            return account, index
        why = "it has other parts"
    except InvalidArgumentError as error:
        why = str(error)
    raise InvalidArgumentError(f"asset {parts.geturl()[:200]!r} is not of the form {FORM}: {why}")


def convert_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:  # noqa: ARG001  # Airflow's signature
    """Give the OpenLineage dataset of an asset: entry ``to_openlineage_converter`` of the provider info."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    account, index = account_and_index(asset.uri)
    return Dataset(namespace=f"{SCHEME}://{account}", name=index)


def dataset_name(source: str) -> tuple[str, str] | None:
    """Give namespace and name of a file by OpenLineage's naming; None for what is no file.

    :param source: as a report names it: ``/data/a.ndjson``, ``s3://bucket/key``.
    """
    scheme, separator, rest = source.partition("://")
    if not separator:
        return ("file", source) if source.startswith("/") else None
    if scheme == "file":
        return "file", rest
    store, _, key = rest.partition("/")
    return f"{scheme}://{store.rpartition('@')[2]}", key


def asset_uri(source: str) -> str | None:
    """Give the URI of a file as Airflow's assets take it; None for what is no file.

    :param source: as a report names it.
    """
    name = dataset_name(source)
    if name is None:
        return None
    namespace, key = name
    return f"file://{quote(key)}" if namespace == "file" else f"{namespace}/{quote(key)}"
