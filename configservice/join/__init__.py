"""Set-up of a cluster, adding servers to it, draining and removing them.

Responsible for the first topology (`initialisation`), for inspecting a named server (`inspection`: the address is
resolved once, checked against the allow list, and every wait is bounded), for validating it (`validation`, pure), for
recording it (`changes`), and for draining, undraining and removing instances (`draining`). Never creates tables itself
and knows no driver: the process passes both in as `ClusterTools`. Talks to the control database and, through
`monitoring.connections`, to servers.
"""
