"""Rebuilds the topology of a control database: reads documents and shards, plans, and carries the plan out."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from configservice.errors import RestoreRefused
from configservice.models import TopologyEpoch
from configservice.moves.states import FINISHED
from configservice.restore.facts import RestorationPlan
from configservice.restore.plan import plan_restoration
from configservice.restore.tables import is_led, write_restored
from configservice.topology.history import diff_topology
from configservice.topology.model import Topology
from configservice.topology.publication import find_signing_key
from viewcounter.apikeys.key_file import FILE_NAME
from viewcounter.apikeys.key_recovery import (
    KeyRecovery,
    apply_recovery,
    plan_recovery,
    read_key_files,
    read_known_keys,
)
from viewcounter.catalogue.changes import skip_revisions
from viewcounter.config import Config
from viewcounter.controlplane.shard_facts import ShardReader
from viewcounter.controlplane.topology_documents import Document, choose_document, find_documents

_LOST_WITH_EMPTY = (
    "users of the admin: `manage.py prepare` or `createsuperuser` makes one",
    "the catalogue: titles that shards have stay, send the catalogue again",
    "the history of changes, findings of audits, unfinished recounts, records of log losses",
    "failover modes of single shards: the setting VIEWCOUNTER_CONFIGSERVICE_FAILOVER_MODE holds for all",
)
_NO_KEYS = "API keys: give the file api_keys of a gateway, --keys FILE, or make new ones: `manage.py create_api_key`"
_OUTDATED_KEYS = (
    "API keys made since do not exist, and keys revoked since are valid again: give the file api_keys of a gateway,"
    " --keys FILE"
)
_OUTDATED_BY_BACKUP = (
    "users of the admin and their passwords are those of the backup",
    "changes of the catalogue since: shards keep them, send them again",
)


@dataclass(frozen=True, slots=True)
class Restoration:
    """`backup_at`: when the newest topology of the control database was published; None: it was empty. `keys`: None
    without a file of them."""

    document: Document
    plan: RestorationPlan
    backup_at: datetime | None
    keys: KeyRecovery | None
    reader: ShardReader

    def list_changes(self) -> list[str]:
        """Of the topology, against the document; and the moves that were under way."""
        topology = self.plan.topology
        names = {shard.id: shard.name for shard in topology.shards}
        changes = [
            f"{change.kind} {change.name} {change.field}: {change.before} -> {change.after}".replace("  ", " ")
            for change in diff_topology(self.document.topology, topology)
        ]
        moves = [
            f"move of partition {move.partition} from {names[move.source_id]} to {names[move.target_id]}:"
            f" recorded as {move.state}" + ("" if move.state in FINISHED else ", for a mover to end it")
            for move in self.plan.moves
        ]
        keys = []
        if self.keys is not None:
            keys.append(f"API keys: {len(self.keys.added)} to add, {len(self.keys.revoked)} to revoke")
        return [*changes, f"epoch: {self.document.topology.epoch} -> {topology.epoch}", *moves, *keys]

    def list_losses(self) -> tuple[str, ...]:
        keys = [] if self.keys is not None else [_NO_KEYS if self.backup_at is None else _OUTDATED_KEYS]
        if self.backup_at is None:
            return (*keys, *_LOST_WITH_EMPTY)
        since = f"{self.backup_at:%Y-%m-%dT%H:%M:%SZ}"
        first = f"changes since the backup, whose last topology is of {since}, among them:"
        return (first, *keys, *_OUTDATED_BY_BACKUP)


def plan(
    config: Config, *, file: Path | None, key_files: Sequence[Path], unread_shards: Collection[str]
) -> Restoration:
    """Changes nothing. `key_files`: without any, that of this host if there is one.

    Raises RestoreRefused, ControlDatabaseUnavailable, KeyFileRefused, NoKeyFile.
    """
    documents = find_documents(file, state_dir=config.state_dir)
    document = choose_document(documents)
    if settings.CLUSTER_ID not in ("", document.topology.cluster_id):
        raise RestoreRefused(
            f"{document.place} is of cluster {document.topology.cluster_id}, VIEWCOUNTER_CLUSTER_ID is"
            f" {settings.CLUSTER_ID}"
        )
    reader = ShardReader(config)
    facts = reader.read_facts(document.topology)
    planned = plan_restoration(
        document.topology,
        facts,
        known=[other.topology.version for other in documents],
        unread_shards=unread_shards,
    )
    backup_at = TopologyEpoch.objects.order_by("-epoch").values_list("created_at", flat=True).first()
    keys = _plan_keys(config, key_files, cluster_id=document.topology.cluster_id)
    return Restoration(document, planned, backup_at, keys, reader)


def _plan_keys(config: Config, key_files: Sequence[Path], *, cluster_id: str) -> KeyRecovery | None:
    own = config.state_dir / FILE_NAME
    paths = key_files or ([own] if own.exists() else [])
    if not paths:
        return None
    lists = read_key_files(paths, secret=config.secret_key.get_secret_value(), cluster_id=cluster_id)
    return plan_recovery(lists, read_known_keys())


def apply_restoration(restoration: Restoration, *, reason: str, actor: str, warn: Callable[[str], None]) -> Topology:
    """May be repeated: it then raises the generation once more. Raises RestoreRefused, ConfigServiceError."""
    if is_led():
        raise RestoreRefused("a config service leads on this control database: stop all config services first")
    if settings.TOPOLOGY_PUBLIC_KEYS and find_signing_key() is None:
        raise RestoreRefused(
            "no process would accept it unsigned: set VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE to the key of the"
            " config services"
        )
    topology, reader = restoration.plan.topology, restoration.reader

    def complete() -> None:
        if restoration.keys is not None:
            apply_recovery(restoration.keys)
        reader.claim_generation(topology, warn=warn)

    skip_revisions(through=max(reader.read_last_revision(shard) for shard in topology.shards))
    return write_restored(
        restoration.document.published,
        restoration.plan,
        complete=complete,
        reason=f"restore_topology: {reason}" if reason else "restore_topology",
        actor=actor,
    )
