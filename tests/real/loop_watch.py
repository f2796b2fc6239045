"""Airflow's local settings in the tests; nothing is watched yet."""
