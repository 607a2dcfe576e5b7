"""The fault drill: steady load, faults from a seed, then the proof that every acknowledged event is counted once.

Responsible for the plan of faults, for doing them to a local cluster and undoing them, for load that writes down what
it was told, and for the verdict. Looks at the cluster from outside, over HTTP and by reading the servers themselves, so
that the service is not its own witness. Nothing that serves a request uses it; tests use its load and its proof.
"""
