"""`manage.py move_partitions`: move partitions from one shard to another while they are counted and read."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from commandline.command import Subject
from viewcounter.commands.counting_command import CountingCommand
from viewcounter.moves.errors import BadPartitions


class Command(CountingCommand):
    subject = Subject.CLUSTER
    help = (
        "Move partitions from one shard to another, online. Moves run one after the other. The command may be killed "
        "at any moment without loss; `manage.py moves resume` continues its moves."
    )

    examples = (
        "manage.py move_partitions --from shard1 --to shard2 --partitions 1,2,5-9",
        "manage.py move_partitions --from shard1 --to shard3 --count 4 --yes",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="source", required=True, metavar="SHARD", help="shard that owns the partitions"
        )
        parser.add_argument("--to", dest="target", required=True, metavar="SHARD", help="shard to move them to")
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--partitions", metavar="1,2,5-9", help="partitions as numbers and ranges")
        which.add_argument("--count", type=int, metavar="N", help="the first N partitions of the shard")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        parser.add_argument(
            "--plan-only", action="store_true", help="plan only; `manage.py run_mover` carries the moves out"
        )
        parser.add_argument("--json", action="store_true", help="print the moves as JSON when they have ended")

    def handle(self, **options: Any) -> None:
        from viewcounter.cluster import get_cluster
        from viewcounter.moves.commands import carry_out, confirm, describe_plan, get_shard_id, request_moves
        from viewcounter.moves.plan import choose_partitions, parse_partitions

        topology = get_cluster().topology
        source_id = get_shard_id(topology, options["source"])
        target_id = get_shard_id(topology, options["target"])
        try:
            chosen = choose_partitions(
                topology.get_partitions_of(source_id),
                wanted=None if options["partitions"] is None else parse_partitions(options["partitions"]),
                count=options["count"],
                shard=options["source"],
            )
        except BadPartitions as error:
            raise CommandError(str(error)) from error
        targets = dict.fromkeys(chosen, target_id)
        for line in describe_plan(topology, targets):
            self.stderr.write(line)
        confirm(f"Move {len(chosen)} partitions?", is_agreed=options["yes"])
        moves = request_moves(targets, reason="move_partitions")
        if options["plan_only"]:
            self.stdout.write(f"{len(moves)} moves planned")
            return
        carry_out([m.pk for m in moves], stdout=self.stdout, stderr=self.stderr, as_json=options["json"])
