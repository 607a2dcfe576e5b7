"""`manage.py rebalance`: even out the shards with the fewest moves, for example after adding one."""

from typing import Any

from django.core.management.base import CommandParser

from commandline.command import Subject
from viewcounter.commands.counting_command import CountingCommand


class Command(CountingCommand):
    subject = Subject.CLUSTER
    help = "Even out the shards by moving partitions online. By number of partitions, or by events counted in them."

    examples = ("manage.py rebalance --dry-run", "manage.py rebalance --by size --yes")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--by",
            choices=["number", "size"],
            default="number",
            help="measure to even out: number of partitions, or events counted in them (default: %(default)s)",
        )
        parser.add_argument("--dry-run", action="store_true", help="print the plan and move nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        parser.add_argument("--json", action="store_true", help="print the moves as JSON when they have ended")

    def handle(self, **options: Any) -> None:
        from configservice.moves.placement import plan_even_numbers
        from viewcounter.cluster import get_cluster
        from viewcounter.moves.commands import carry_out, confirm, describe_plan, request_moves
        from viewcounter.moves.plan import plan_even_sizes
        from viewcounter.moves.scheduler import read_sizes

        cluster = get_cluster()
        topology = cluster.topology
        owned = {shard.id: topology.get_partitions_of(shard.id) for shard in topology.shards if shard.primary}
        targets = plan_even_numbers(owned) if options["by"] == "number" else plan_even_sizes(owned, read_sizes(cluster))
        for line in describe_plan(topology, targets):
            self.stdout.write(line) if options["dry_run"] else self.stderr.write(line)
        if options["dry_run"] or not targets:
            self.stdout.write(f"{len(targets)} moves")
            return
        confirm(f"Move {len(targets)} partitions?", is_agreed=options["yes"])
        moves = request_moves(targets, reason="rebalance")
        carry_out([m.pk for m in moves], stdout=self.stdout, stderr=self.stderr, as_json=options["json"])
