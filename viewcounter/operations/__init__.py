"""Commands of operators: set-up of shards, keys, replay of the sample, the local cluster's start and stop."""
