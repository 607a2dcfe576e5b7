"""`manage.py bench_step`: one part of a benchmark, started by `manage.py bench` on its temporary cluster."""

import argparse
from typing import Any

from commandline.command import OperatorCommand


class Command(OperatorCommand):
    help = "Run one step of `bench` on the cluster of the settings."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True, metavar="STEP", help="the step")
        filling = steps.add_parser("fill", help="append events to the log")
        filling.add_argument("--events", type=int, required=True, metavar="N", help="number of events")
        filling.add_argument("--seed", type=int, default=1, metavar="N", help="seed of their ids, videos and times")
        steps.add_parser("drain", help="drain the partitions named on stdin")
        steps.add_parser("floor", help="run the statements of the drains alone")
        storing = steps.add_parser("bare", help="store events by bare psycopg, after a line on stdin")
        storing.add_argument("--shard", required=True, metavar="NAME", help="the shard, on whose primary")
        storing.add_argument("--seconds", type=float, required=True, metavar="SECONDS", help="duration")
        steps.add_parser("key", help="create an API key that reads and writes")
        steps.add_parser("public_key", help="create a public API key of a page")
        steps.add_parser("log", help="count the events in the log")
        attacking = steps.add_parser("attack", help="attack the gateway; API keys come on stdin")
        attacking.add_argument("--kind", required=True, metavar="KIND", help="kind of the attack")
        attacking.add_argument("--host", required=True, metavar="HOST", help="address of the gateway")
        attacking.add_argument("--port", type=int, required=True, metavar="PORT", help="port of the gateway")
        attacking.add_argument("--connections", type=int, required=True, metavar="N", help="open connections")
        attacking.add_argument("--seconds", type=float, required=True, metavar="SECONDS", help="duration")

    def handle(self, **options: Any) -> None:
        from devtools.bench.attacks import Attack
        from devtools.bench.steps import attack, count_log, drain, fill, floor, make_key, make_public_key, store_bare
        from viewcounter.cluster import get_cluster

        match options["step"]:
            case "fill":
                fill(options["events"], seed=options["seed"])
            case "drain":
                drain()
            case "floor":
                floor()
            case "bare":
                store_bare(options["shard"], seconds=options["seconds"])
            case "key":
                make_key()
            case "public_key":
                make_public_key()
            case "log":
                count_log()
            case "attack":
                limits = {name: options[name] for name in ("host", "port", "connections", "seconds")}
                attack(Attack(options["kind"]), **limits)
        get_cluster().close()
