"""Builds the local cluster from the settings."""

import os
from collections.abc import Callable

from devtools.localcluster import ClusterSpec, LocalCluster
from viewcounter.config import Config


def build_local_cluster(config: Config, *, report: Callable[[str], None]) -> LocalCluster:
    return LocalCluster(config.state_dir, spec=build_spec(config), outer=os.environ, report=report)


def build_spec(config: Config) -> ClusterSpec:
    return ClusterSpec(
        shards=config.local_shards,
        replicas_per_shard=config.local_replicas_per_shard,
        partitions=config.local_partitions,
        zone=config.zone,
        web_workers=config.web_workers,
        worker_processes=config.worker_processes,
        movers=config.local_movers,
        server_ready_seconds=config.local_ready_seconds,
        application_ready_seconds=config.local_ready_seconds,
        postgres_bin_dir=config.postgres_bin_dir,
        valkey_server=config.valkey_server,
    )
