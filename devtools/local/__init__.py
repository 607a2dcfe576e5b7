"""The commands `bin/up` and `bin/demo` on the cluster of this machine: start it, create its keys, print its addresses.

Talks to the cluster through `devtools.localcluster`; never used by the service.
"""
