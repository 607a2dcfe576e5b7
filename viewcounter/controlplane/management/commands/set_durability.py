"""`manage.py set_durability`: set which replicas have a commit of a shard on disk before it is acknowledged."""

import argparse
import getpass
import time
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject
from configservice.errors import ConfigServiceError
from configservice.failover.durability import DurabilityState
from configservice.topology.model import Durability, StandbyLoss

if TYPE_CHECKING:
    from viewcounter.health.cluster_health import ShardHealth

POLL_SECONDS = 0.1
SETTLE_SECONDS = 3.0


class Command(OperatorCommand):
    subject = Subject.CLUSTER
    help = (
        "Change which replicas a commit of a shard waits for. No server restarts. Modes: async (no replica), quorum "
        "(--k replicas) and all (every replica); --on-loss sets what commits do while replicas are missing."
    )
    examples = (
        "manage.py set_durability --shard shard1 --mode quorum --k 1 --on-loss block",
        "manage.py set_durability --shard shard1 --mode async",
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--shard", required=True, metavar="NAME", help="name of the shard")
        parser.add_argument(
            "--mode",
            required=True,
            choices=[mode.value for mode in Durability],
            help="what a commit waits for: the primary alone, a quorum of replicas, or all replicas",
        )
        parser.add_argument("--k", type=int, default=1, metavar="N", help="number of replicas in a quorum (default: 1)")
        parser.add_argument(
            "--on-loss",
            choices=[rule.value for rule in StandbyLoss],
            help="what commits do while replicas are missing (default: unchanged)",
        )
        parser.add_argument("--reason", default="", metavar="TEXT", help="reason, for the history")
        parser.add_argument(
            "--wait-seconds",
            type=float,
            default=15.0,
            metavar="SECONDS",
            help="how long to wait until the primary has applied it (default: %(default)g)",
        )

    def handle(self, **options: Any) -> None:
        from configservice.failover.durability_change import set_durability
        from configservice.failover.requests import check_leader

        rule = options["on_loss"]
        try:
            topology = set_durability(
                shard=options["shard"],
                durability=Durability(options["mode"]),
                quorum=options["k"],
                on_standby_loss=None if rule is None else StandbyLoss(rule),
                actor=f"{getpass.getuser()} (manage.py set_durability)",
                reason=options["reason"],
            )
            self.stdout.write(f"published as epoch {topology.epoch}")
            check_leader()
        except ConfigServiceError as error:
            raise CommandError(str(error)) from error
        health = _await_applied(options["shard"], epoch=topology.epoch, within_seconds=options["wait_seconds"])
        if health is None:
            raise CommandError("the primary has not applied it yet; the leading config service keeps trying")
        reason = health.durability_reason or "commits wait as the durability requires"
        self.stdout.write(f"{options['shard']}: {health.durability}, {reason}")


def _await_applied(shard: str, *, epoch: int, within_seconds: float) -> "ShardHealth | None":
    """Health of the shard once its primary has applied the setting, and a moment later for standbys to be counted."""
    from viewcounter.cluster import get_cluster
    from viewcounter.config import get_config
    from viewcounter.health.cluster_health import is_applied, probe_cluster

    config, cluster = get_config(), get_cluster()
    deadline = time.monotonic() + within_seconds
    applied_at: float | None = None
    while True:
        topology, shards = probe_cluster(
            cluster,
            timeout_seconds=config.readiness.probe_seconds,
            max_lag_seconds=config.cluster.replica_max_lag_seconds,
        )
        health = next(s for s in shards if s.shard.name == shard)
        now = time.monotonic()
        if topology.epoch >= epoch and is_applied(health):
            applied_at = now if applied_at is None else applied_at
            if health.durability is DurabilityState.MET or now - applied_at > SETTLE_SECONDS:
                return health
        if now >= deadline:
            return None if applied_at is None else health
        time.sleep(POLL_SECONDS)
