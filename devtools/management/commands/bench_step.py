"""`manage.py bench_step`: one part of a benchmark, started by `manage.py bench` on its temporary cluster."""

import argparse
from typing import Any

from commandline.command import OperatorCommand


class Command(OperatorCommand):
    help = "Used by `bench`: one part of it, on the cluster of the settings."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True, metavar="STEP", help="which part")
        filling = steps.add_parser("fill", help="append events to the log")
        filling.add_argument("--events", type=int, required=True, metavar="N", help="how many")
        filling.add_argument("--seed", type=int, default=1, metavar="N", help="of their ids, videos and times")
        steps.add_parser("drain", help="drain the partitions named on stdin")
        steps.add_parser("floor", help="the statements of the drains alone")
        steps.add_parser("key", help="make an API key that reads and writes")
        steps.add_parser("public_key", help="make a public API key of a page")
        steps.add_parser("log", help="how many events the log holds")
        attacking = steps.add_parser("attack", help="be a hostile client; the keys come on stdin")
        attacking.add_argument("--kind", required=True, metavar="KIND", help="what to do to the gateway")
        attacking.add_argument("--host", required=True, metavar="HOST", help="of the gateway")
        attacking.add_argument("--port", type=int, required=True, metavar="PORT", help="of the gateway")
        attacking.add_argument("--connections", type=int, required=True, metavar="N", help="open at once")
        attacking.add_argument("--seconds", type=float, required=True, metavar="SECONDS", help="how long")

    def handle(self, **options: Any) -> None:
        from devtools.bench.attacks import Attack
        from devtools.bench.steps import attack, count_log, drain, fill, floor, make_key, make_public_key
        from viewcounter.cluster import get_cluster

        match options["step"]:
            case "fill":
                fill(options["events"], seed=options["seed"])
            case "drain":
                drain()
            case "floor":
                floor()
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
