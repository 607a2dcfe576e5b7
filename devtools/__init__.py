"""Tools of developers and of machines to try it on: a local cluster, benchmarks, fault drills, replay of real
data.

Not part of the service: nothing of it imports this package, and a production host need not have it.
"""
