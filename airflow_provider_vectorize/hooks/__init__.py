"""The hook, and what it needs of Airflow: the connection, object storage, the state of a task."""
