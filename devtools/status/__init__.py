"""The output of `bin/status`: processes and databases of the local cluster, and shards and lag from a gateway."""
