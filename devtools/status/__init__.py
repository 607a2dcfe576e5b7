"""What `bin/status` shows: processes and databases of the local cluster, shards and lag as a gateway tells them."""
