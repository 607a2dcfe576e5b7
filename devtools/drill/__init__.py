"""The fault drill: steady load, faults planned from a seed, then the proof that every acknowledged event counts once.

Responsible for the plan of faults, for injecting them into a local cluster and removing them, for load that records
every answer, and for the verdict. Observes the cluster from outside only, over HTTP and by SQL on its servers, never
through code of the service that is under test. Never used by the service; tests use its load and its proof.
"""
