"""`manage.py bench`: measure the service on servers of its own."""

import argparse
from pathlib import Path
from typing import Any

from commandline.command import OperatorCommand, Subject
from devtools.bench.defaults import DRAIN_EVENTS, QUICK_ROUNDS, ROUNDS, TITLES


class Command(OperatorCommand):
    subject = Subject.TRY
    help = "Measure the service on temporary clusters. Runs all parts or the named ones; see docs/benchmarks.md."
    examples = ("bin/bench --quick", "bin/bench ingest drain --rounds 5 --html bench.html")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        known = "; ".join(f"{name}: {title}" for name, title in TITLES.items())
        parser.add_argument("parts", nargs="*", metavar="PART", help=f"parts to measure (default: all). {known}")
        parser.add_argument(
            "--quick", action="store_true", help="a short run with less load: about two minutes on two quiet cores"
        )
        parser.add_argument(
            "--rounds",
            type=int,
            metavar="N",
            help=f"measurements after warming up (default: {ROUNDS}, with --quick {QUICK_ROUNDS})",
        )
        parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as one page with plots")
        parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures; - for stdout, without tables")
        common = parser.add_argument_group("options of the parts ingest, pipeline, drain, peers, abuse")
        common.add_argument("--shards", type=int, metavar="N", help="shards (default: 2)")
        common.add_argument("--replicas", type=int, metavar="N", help="streaming replicas of each shard (default: 1)")
        common.add_argument("--partitions", type=int, metavar="N", help="partitions (default: 32)")
        ingest = parser.add_argument_group("options of the part ingest")
        ingest.add_argument("--batches", type=_parse_numbers, metavar="N,N", help="events of a post, in turn")
        ingest.add_argument("--connections", type=_parse_numbers, metavar="N,N", help="open connections, in turn")
        ingest.add_argument("--seconds", type=float, metavar="SECONDS", help="duration of each measurement")
        drain = parser.add_argument_group("options of the part drain")
        drain.add_argument(
            "--events", type=int, metavar="N", help=f"events in the log (default: {DRAIN_EVENTS}, with --quick fewer)"
        )
        drain.add_argument("--workers", type=int, metavar="N", help="worker processes (default: 2)")
        drain.add_argument("--no-floor", action="store_true", help="skip the comparison with bare statements")

    def handle(self, **options: Any) -> None:
        from devtools.bench.command import run_bench

        run_bench(options, stdout=self.stdout)


def _parse_numbers(text: str) -> tuple[int, ...]:
    """`1,16,64`. Raises ValueError, which argparse reports."""
    return tuple(int(part) for part in text.split(","))
