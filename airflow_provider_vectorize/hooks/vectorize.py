"""The hook. Each part of what it can do is a class of its own, in a module of its own."""

from __future__ import annotations

from typing import Any

from airflow_provider_vectorize import get_provider_info
from airflow_provider_vectorize.hooks.deletes import DeleteMethods
from airflow_provider_vectorize.hooks.exports import ExportMethods
from airflow_provider_vectorize.hooks.indexes import IndexMethods
from airflow_provider_vectorize.hooks.queries import QueryMethods
from airflow_provider_vectorize.hooks.sync import SyncMethods
from airflow_provider_vectorize.hooks.uploads import UploadMethods


class VectorizeHook(SyncMethods, UploadMethods, IndexMethods, QueryMethods, ExportMethods, DeleteMethods):
    """Talk to Cloudflare Vectorize.

    :param conn_id: a connection of type ``vectorize``: login is the account ID, password the API token.
    """

    # Airflow before 3.2 looks for these two in this very class, and not in what it inherits.
    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Give the behaviour of the connection form, for Airflow before 3.2."""
        behaviour = _connection_type()["ui-field-behaviour"]
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Give the fields of the connection form, for Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import IntegerField, StringField
        from wtforms.validators import Optional

        # Airflow 3.1 stands in for Flask's fields, and knows no others than these. What is text is read as a number
        # later on.
        return {
            name: (IntegerField if "integer" in field["schema"]["type"] else StringField)(
                field["label"],
                validators=[Optional()],
                description=field["description"],
                widget=BS3TextFieldWidget(),
            )
            for name, field in _connection_type()["conn-fields"].items()
        }


def _connection_type() -> dict[str, Any]:
    [connection_type] = get_provider_info()["connection-types"]
    return dict(connection_type)
