"""The options `--partition N ...` and `--all` of maintenance commands."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser


def add_partition_arguments(parser: CommandParser) -> None:
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--partition", type=int, nargs="+", metavar="N", help="only these partitions")
    group.add_argument("--all", action="store_true", help="every partition")


def get_partitions(options: Mapping[str, Any], *, partition_count: int) -> list[int]:
    """The chosen partitions, ascending. Raises CommandError for one that does not exist."""
    if options["all"]:
        return list(range(partition_count))
    unknown = [p for p in options["partition"] if not 0 <= p < partition_count]
    if unknown:
        raise CommandError(f"no such partition: {unknown[0]}; there are 0 to {partition_count - 1}")
    return sorted(set(options["partition"]))
