"""What `manage.py audit` does: compare ledger, raw events and aggregates of some hours."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from clusterproxy.errors import ClusterProxyError
from shardproxy.errors import ShardProxyError
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.maintenance.audit import Finding
from viewcounter.maintenance.audit_runs import PartitionAudit, audit_partition
from viewcounter.maintenance.findings import encode_difference
from viewcounter.storage.raw import HOUR

EXIT_DRIFT = 1
EXIT_INCOMPLETE = 2


def run_audit(options: dict[str, Any], *, stdout: OutputWrapper) -> None:
    """Exits with EXIT_DRIFT or EXIT_INCOMPLETE unless every partition was compared and is equal."""
    cluster, now = get_cluster(), datetime.now(UTC)
    partition_count = cluster.topology.partition_count
    partitions = range(partition_count) if options["partition"] is None else [options["partition"]]
    if options["hours"] < 1 or not set(partitions) <= set(range(partition_count)):
        raise CommandError(f"--hours must be at least 1, --partition 0 to {partition_count - 1}")
    current = now.replace(minute=0, second=0, microsecond=0)
    hours = [current - HOUR * back for back in reversed(range(options["hours"]))]
    audits: list[PartitionAudit] = []
    missing: dict[int, str] = {}
    for partition in partitions:
        try:
            audits.append(audit_partition(cluster, partition, hours=hours, settings=get_config().audit, now=now))
        except (ClusterProxyError, ShardProxyError) as error:
            missing[partition] = str(error)
    missing |= {a.partition: "the shard does not hold this partition" for a in audits if not a.hours}
    if options["json"]:
        stdout.write(json.dumps(_encode(audits, missing, hours=hours)))
    else:
        _print(audits, missing, hour_count=len(hours), stdout=stdout)
    if missing:
        sys.exit(EXIT_INCOMPLETE)
    if not all(audit.balances for audit in audits):
        sys.exit(EXIT_DRIFT)


def _print(audits: list[PartitionAudit], missing: dict[int, str], *, hour_count: int, stdout: OutputWrapper) -> None:
    for partition, hour, finding in _list_findings(audits):
        stdout.write(f"partition {partition}, {hour}: {finding.comparison}: {finding.text}")
        for row in finding.differences:
            stdout.write(f"    {json.dumps(encode_difference(row))}")
    for partition, reason in missing.items():
        stdout.write(f"partition {partition}: not compared: {reason}")
    counted = sum(hour.ledger.counted for audit in audits for hour in audit.hours)
    wrong = sum(not audit.balances for audit in audits)
    stdout.write(
        f"{len(audits)} partitions over {hour_count} hours: {counted} events counted, {wrong} partitions differ, "
        f"{len(missing)} not compared"
    )


def _list_findings(audits: list[PartitionAudit]) -> list[tuple[int, str, Finding]]:
    return [
        (audit.partition, period, finding)
        for audit in audits
        for period, findings in [
            *((f"{hour.hour:%Y-%m-%dT%H:%MZ}", hour.findings) for hour in audit.hours),
            ("all time", list(audit.totals)),
        ]
        for finding in findings
    ]


def _encode(audits: list[PartitionAudit], missing: dict[int, str], *, hours: list[datetime]) -> dict[str, Any]:
    return {
        "first_hour": hours[0].isoformat(),
        "hour_count": len(hours),
        "balances": not missing and all(audit.balances for audit in audits),
        "missing": missing,
        "partitions": [
            {
                "partition": audit.partition,
                "balances": audit.balances,
                **{
                    name: sum(getattr(hour.ledger, name) for hour in audit.hours)
                    for name in ("received", "counted", "duplicate", "conflict", "dead_lettered")
                },
            }
            for audit in audits
        ],
        "findings": [
            {
                "partition": partition,
                "period": period,
                **{k: v for k, v in asdict(finding).items() if k != "differences"},
                "differences": [encode_difference(row) for row in finding.differences],
            }
            for partition, period, finding in _list_findings(audits)
        ],
    }
