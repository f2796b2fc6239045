"""What an index holds against what its source says: sync, verify, plan. Knows nothing of Airflow.

:mod:`.manifest` remembers what the index holds (:mod:`.segments` is how it is written, :mod:`.folder` where,
:mod:`.lease` who may, :mod:`.known` the table of it while a run lasts). :mod:`.marks` tells whether a record has
changed, :mod:`.difference` what follows from that; :mod:`.following` is both during a load, :mod:`.engine` the sync.

:mod:`.verify` reads an index back and compares it with what :mod:`.expected` has drawn; :mod:`.plan` foretells a load.
"""
