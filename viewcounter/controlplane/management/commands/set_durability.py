"""`manage.py set_durability`: who has a commit of a shard on disk before it is answered."""

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
        "Change which replicas a commit of a shard waits for. Nothing is restarted. Modes are async (the primary "
        "alone), quorum (--k replicas too) and all replicas; --on-loss says what commits do while replicas are missing."
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
            help="what a commit waits for: the primary, a quorum of replicas, or all of them",
        )
        parser.add_argument("--k", type=int, default=1, metavar="N", help="replicas of a quorum (default: 1)")
        parser.add_argument(
            "--on-loss",
            choices=[rule.value for rule in StandbyLoss],
            help="what commits do while replicas are missing (default: as it is)",
        )
        parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the history")
        parser.add_argument(
            "--wait-seconds",
            type=float,
            default=15.0,
            metavar="SECONDS",
            help="how long to wait until the primary has it (default: %(default)g)",
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
        standing = _await_applied(options["shard"], epoch=topology.epoch, within_seconds=options["wait_seconds"])
        if standing is None:
            raise CommandError("the primary does not have it yet; the leading config service goes on trying")
        told = standing.durability_reason or "every commit waits as asked"
        self.stdout.write(f"{options['shard']}: {standing.durability}, {told}")


def _await_applied(shard: str, *, epoch: int, within_seconds: float) -> "ShardHealth | None":
    """How the shard stands once its primary has been told; the standbys get a moment more to be counted by it."""
    from viewcounter.cluster import get_cluster
    from viewcounter.config import get_config
    from viewcounter.health.cluster_health import is_applied, probe_cluster

    config, cluster = get_config(), get_cluster()
    deadline = time.monotonic() + within_seconds
    told_at: float | None = None
    while True:
        topology, standings = probe_cluster(
            cluster,
            timeout_seconds=config.readiness_probe_seconds,
            max_lag_seconds=config.replica_max_lag_seconds,
        )
        standing = next(s for s in standings if s.shard.name == shard)
        now = time.monotonic()
        if topology.epoch >= epoch and is_applied(standing):
            told_at = now if told_at is None else told_at
            if standing.durability is DurabilityState.MET or now - told_at > SETTLE_SECONDS:
                return standing
        if now >= deadline:
            return None if told_at is None else standing
        time.sleep(POLL_SECONDS)
