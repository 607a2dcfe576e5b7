"""Reads what every instance says about its shard, and claims a generation of the topology on the shards."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from configservice.errors import ConfigServiceError, GenerationTaken
from configservice.restore.facts import InstanceFacts, PartitionRow
from configservice.topology.model import Instance, Shard, Topology
from viewcounter.config import Config
from viewcounter.controlplane.config_service import OperatorConnection
from viewcounter.storage.catalogue import READ_LAST_REVISION
from viewcounter.storage.moves import parse_token
from viewcounter.storage.partitions import CLAIM_GENERATION, GIVE_GENERATION_BACK, READ_IDENTITY, READ_PLACEMENT

MAX_THREADS = 16
REVISION_SECONDS = 60.0
"""For the one statement that reads every copy of the catalogue on a shard."""


@dataclass(slots=True)
class ShardReader:
    """One instance after the other is asked as the service's own role; each answer is bounded."""

    config: Config
    failures: dict[str, str] = field(default_factory=dict)
    """Why an instance gave no facts, by its name."""

    def read_facts(self, topology: Topology) -> dict[str, InstanceFacts | None]:
        """Of every instance, in parallel; None of one that does not answer or is not a shard of this release."""
        instances = [instance for shard in topology.shards for instance in shard.instances]
        with ThreadPoolExecutor(min(MAX_THREADS, len(instances)), thread_name_prefix="facts") as pool:
            facts = list(pool.map(self._find_facts, instances))
        return {instance.name: found for instance, found in zip(instances, facts, strict=True)}

    def read_last_revision(self, shard: Shard) -> int:
        """Of the catalogue's copies on the shard; 0 without a primary. Raises ConfigServiceError."""
        if shard.primary is None:
            return 0
        with closing(self._connect(shard.primary)) as connection:
            (row,) = connection.fetch(READ_LAST_REVISION.text, timeout_seconds=REVISION_SECONDS)
        return int(row["revision"])

    def claim_generation(self, topology: Topology, *, warn: Callable[[str], None]) -> None:
        """Store the topology's generation on each shard, by compare-and-set, so that no two control databases publish
        the same one. No shard has it if this raises: ConfigServiceError of the first shard, GenerationTaken.

        A later shard that does not answer is only warned of: others refuse the old topology by then.
        """
        claimed: list[Instance] = []
        for primary in [shard.primary for shard in topology.shards if shard.primary is not None]:
            try:
                rows = self._update(primary, CLAIM_GENERATION.text, generation=topology.generation)
            except ConfigServiceError as error:
                if not claimed:
                    raise
                warn(f"{primary.name} has not stored the generation ({error}): run `manage.py migrate_shards` later")
                continue
            if not rows:
                for instance in claimed:
                    self._update(instance, GIVE_GENERATION_BACK.text, generation=topology.generation)
                raise GenerationTaken(f"{primary.name} has topology generation {topology.generation} or a later one")
            claimed.append(primary)

    def _find_facts(self, instance: Instance) -> InstanceFacts | None:
        seconds = self.config.configservice.instance_answer_seconds
        with closing(self._connect(instance)) as connection:
            try:
                (identity,) = connection.fetch(READ_IDENTITY.text, timeout_seconds=seconds)
                rows = connection.fetch(READ_PLACEMENT.text, timeout_seconds=seconds)
            except ConfigServiceError as error:
                self.failures[instance.name] = " ".join(str(error).split())
                return None
        return InstanceFacts(
            is_standby=identity["is_standby"],
            term=identity["term"],
            generation=identity["generation"],
            cluster_id=identity["cluster_id"],
            partitions={row["partition"]: _build_row(row) for row in rows},
        )

    def _update(self, instance: Instance, statement: str, **params: Any) -> list[dict[str, Any]]:
        with closing(self._connect(instance)) as connection:
            seconds = self.config.configservice.instance_answer_seconds
            return connection.fetch(statement, params, timeout_seconds=seconds)

    def _connect(self, instance: Instance) -> OperatorConnection:
        return OperatorConnection(instance, self.config.pool, user="", password_ref="")


def _build_row(row: dict[str, Any]) -> PartitionRow:
    token: UUID | None = row["move_token"]
    epoch, claim = (0, 0) if token is None else parse_token(token)
    return PartitionRow(row["epoch"], row["state"], token_epoch=epoch, token_claim=claim)
