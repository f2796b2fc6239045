"""What is done with an index beside loading it: declare it, ask it, save it. Knows nothing of Airflow.

:mod:`.declaration` compares what an index shall be with what it is, and :mod:`.create` makes it so.
"""
