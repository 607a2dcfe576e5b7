"""Builds the local cluster from the settings."""

import os
from collections.abc import Callable

from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.settings import DevtoolsConfig


def build_local_cluster(config: DevtoolsConfig, *, report: Callable[[str], None]) -> LocalCluster:
    return LocalCluster(config.state_dir, spec=build_spec(config), outer=os.environ, report=report)


def build_spec(config: DevtoolsConfig) -> ClusterSpec:
    return ClusterSpec(
        shards=config.local.shards,
        replicas_per_shard=config.local.replicas_per_shard,
        control_replicas=config.local.control_replicas,
        partitions=config.local.partitions,
        zone=config.cluster.zone,
        web_workers=config.web.workers,
        worker_processes=config.local.worker_processes,
        pull_processes=config.pull.processes,
        movers=config.local.movers,
        server_ready_seconds=config.local.ready_seconds,
        application_ready_seconds=config.local.ready_seconds,
        postgres_bin_dir=config.local.postgres_bin_dir,
        valkey_server=config.local.valkey_server,
    )
