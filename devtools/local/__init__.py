"""What `bin/up`, `bin/demo` and `bin/down` do with the cluster of this machine."""
