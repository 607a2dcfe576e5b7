"""Control tables: the rows behind the topology snapshot, and all published snapshots.

Saving a row has no effect by itself: processes use the newest `TopologyEpoch`, which
`configservice.topology.publication.publish` writes.
"""

from uuid import uuid4

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Deferrable, Q

from configservice.failover.records import Failover, ShardCondition  # noqa: F401 - for Django to find
from configservice.moves.states import MoveState
from configservice.settings import FailoverMode
from configservice.topology.model import Durability, Role, StandbyLoss, Topology, is_loopback
from configservice.topology.published_snapshot import PublishedSnapshot

LOG_ID_MAX_LENGTH = 80
POSITION_MAX_LENGTH = 41
REASON_MAX_LENGTH = 200
ACTOR_MAX_LENGTH = 150
NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}\Z"
EVENT_TYPE_PATTERN = r"^[a-z][a-z0-9_]{0,62}\Z"
PASSWORD_REF_PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)\Z"  # noqa: S105 - a pattern, not a password

validate_name = RegexValidator(NAME_PATTERN, "Lower-case letters, digits, - and _, starting with a letter.")
validate_event_type_name = RegexValidator(
    EVENT_TYPE_PATTERN, "Lower-case letters, digits and _, starting with a letter."
)
validate_password_ref = RegexValidator(
    PASSWORD_REF_PATTERN, "A reference to the password, env:NAME or file:/absolute/path; never the password itself."
)


class RoleChoice(models.TextChoices):
    PRIMARY = Role.PRIMARY.value, "primary"
    REPLICA = Role.REPLICA.value, "replica"
    FENCED = Role.FENCED.value, "fenced"


class DurabilityChoice(models.TextChoices):
    ASYNC = Durability.ASYNC.value, "async: the primary"
    QUORUM = Durability.QUORUM.value, "quorum: the primary and a number of replicas"
    ALL = Durability.ALL.value, "all: the primary and every replica"


class StandbyLossChoice(models.TextChoices):
    DEGRADE = StandbyLoss.DEGRADE.value, "degrade: wait for the remaining replicas"
    BLOCK = StandbyLoss.BLOCK.value, "block: wait until they are back"


class SslMode(models.TextChoices):
    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Cluster(models.Model):
    """The one row with the cluster id, created by the first publication. Each shard has a copy of the id."""

    only_row = models.BooleanField(primary_key=True, default=True, editable=False)
    id = models.UUIDField(default=uuid4, editable=False)
    log_id = models.CharField(max_length=LOG_ID_MAX_LENGTH, default="", blank=True, editable=False)
    generation = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    """Of the topology: how often this control database, or one before it, was rebuilt."""

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(only_row=True), name="one_cluster")]

    def __str__(self) -> str:
        return str(self.id)


class Shard(models.Model):
    """One primary and its replicas. Never deleted, since partitions belong to it."""

    id = models.SmallAutoField(primary_key=True)
    name = models.CharField(max_length=63, unique=True, validators=[validate_name])
    term = models.PositiveBigIntegerField(default=1, editable=False, help_text="grows at every change of primary")
    durability = models.CharField(
        max_length=6,
        choices=DurabilityChoice.choices,
        default=DurabilityChoice.ASYNC,
        help_text="which instances have a commit on disk before it is acknowledged",
    )
    quorum = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1)],
        help_text="number of replicas that a commit waits for; for quorum only",
    )
    on_standby_loss = models.CharField(
        "on loss of a replica",
        max_length=7,
        choices=StandbyLossChoice.choices,
        default=StandbyLossChoice.DEGRADE,
        help_text="what commits do while fewer replicas are up than the durability requires",
    )
    failover_mode = models.CharField(
        max_length=9,
        blank=True,
        choices=[(mode.value, mode.value) for mode in FailoverMode],
        help_text="what the config service does when the primary dies; empty: the cluster's setting",
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(durability__in=DurabilityChoice.values), name="known_durability"),
            models.CheckConstraint(condition=Q(quorum__gte=1), name="quorum_of_at_least_one"),
            models.CheckConstraint(condition=Q(on_standby_loss__in=StandbyLossChoice.values), name="known_loss_rule"),
        ]

    def __str__(self) -> str:
        return str(self.name)


class Instance(models.Model):
    """One PostgreSQL server of a shard, with the parameters of connections to it."""

    shard = models.ForeignKey(Shard, on_delete=models.PROTECT, related_name="instances")
    name = models.CharField(max_length=63, unique=True, validators=[validate_name])
    role = models.CharField(max_length=7, choices=RoleChoice.choices)
    host = models.CharField(max_length=253, validators=[RegexValidator(r"^[^\s,]+\Z", "One host name or address.")])
    port = models.PositiveIntegerField(validators=[MinValueValidator(1), MaxValueValidator(65535)])
    database = models.CharField(max_length=63)
    user = models.CharField(max_length=63)
    password_ref = models.CharField(
        "password reference",
        max_length=255,
        validators=[validate_password_ref],
        help_text="reference to the password: env:NAME or file:/absolute/path",
    )
    zone = models.CharField(max_length=63, default="local")
    promotable = models.BooleanField(default=True, help_text="may become primary; the event log is kept for it")
    drained = models.BooleanField(
        default=False, help_text="serves no reads, and no commit waits for it: may be taken down"
    )
    away_since = models.DateTimeField(
        null=True,
        editable=False,
        help_text="start of its absence: it does not answer or does not follow its primary",
    )
    excluded_at = models.DateTimeField(
        "excluded since",
        null=True,
        editable=False,
        db_column="struck_off_at",
        help_text="since when it is not promotable, because the event log could not be kept for it any longer",
    )
    sslmode = models.CharField("SSL mode", max_length=11, choices=SslMode.choices, default=SslMode.PREFER)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["shard"], condition=Q(role=RoleChoice.PRIMARY), name="one_primary_per_shard"
            ),
            # Deferred: addresses may be exchanged within one transaction.
            models.UniqueConstraint(
                fields=["host", "port", "database"], name="unique_address", deferrable=Deferrable.DEFERRED
            ),
            models.CheckConstraint(condition=Q(role__in=RoleChoice.values), name="known_role"),
            models.CheckConstraint(condition=Q(sslmode__in=SslMode.values), name="known_sslmode"),
            models.CheckConstraint(condition=Q(port__gte=1, port__lte=65535), name="port_in_range"),
            models.CheckConstraint(
                condition=Q(password_ref__regex=PASSWORD_REF_PATTERN), name="password_is_a_reference"
            ),
        ]

    def __str__(self) -> str:
        return str(self.name)

    def clean(self) -> None:
        """Raises ValidationError. `shardproxy.tls` also refuses connections to such an instance."""
        if self.sslmode == SslMode.PREFER and not is_loopback(self.host):
            raise ValidationError(
                {
                    "sslmode": "prefer could drop TLS silently on the way to another machine; choose verify-full, "
                    "verify-ca or require, or disable in a network that you trust"
                }
            )


class PartitionAssignment(models.Model):
    """The shard of one partition. `epoch` is the partition's own and grows each time it moves."""

    partition = models.PositiveSmallIntegerField(primary_key=True)
    shard = models.ForeignKey(Shard, on_delete=models.PROTECT, related_name="assignments")
    epoch = models.PositiveBigIntegerField(default=1)

    class Meta:
        ordering = ["partition"]

    def __str__(self) -> str:
        return f"partition {self.partition}"


class EventType(models.Model):
    """A type of event that can be counted. Never deleted or redefined: rows on every shard hold its id."""

    id = models.PositiveSmallIntegerField(
        primary_key=True, editable=False, validators=[MinValueValidator(1), MaxValueValidator(32767)]
    )
    name = models.CharField(max_length=63, unique=True, validators=[validate_event_type_name])
    valued = models.BooleanField(default=False, help_text="each event carries a value, such as seconds watched")

    class Meta:
        ordering = ["id"]
        constraints = [models.CheckConstraint(condition=Q(id__gte=1, id__lte=32767), name="event_type_id_fits")]

    def __str__(self) -> str:
        return str(self.name)


class TopologyEpoch(models.Model):
    """One published snapshot. The one with the highest epoch is valid; the others are the history, with reasons."""

    epoch = models.PositiveBigIntegerField(primary_key=True)
    snapshot = models.TextField()
    signatures = models.JSONField(default=dict, db_default={}, editable=False)
    """Signatures of `snapshot` by key id. The previous release does not set it, so it has a database default."""
    reason = models.CharField(max_length=REASON_MAX_LENGTH)
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-epoch"]

    def __str__(self) -> str:
        return f"epoch {self.epoch}"

    @property
    def published(self) -> PublishedSnapshot:
        return PublishedSnapshot(self.snapshot, self.signatures)

    @property
    def topology(self) -> Topology:
        return self.published.decode()


class LogLoss(models.Model):
    """A loss of the event log: entries of a partition after `position`, which no shard had applied.

    Written once, by `configservice.topology.event_log`, and never deleted. The number of lost events is unknown.
    """

    partition = models.PositiveSmallIntegerField()
    shard = models.CharField(max_length=63, help_text="name of the shard that had applied the log up to there")
    position = models.CharField(max_length=POSITION_MAX_LENGTH, help_text="the last entry applied before the loss")
    log_id = models.CharField(max_length=LOG_ID_MAX_LENGTH, blank=True, help_text="id of the log that lost its entries")
    found_at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    reason = models.CharField(max_length=REASON_MAX_LENGTH)

    class Meta:
        ordering = ["-id"]
        verbose_name = "loss of the event log"
        verbose_name_plural = "losses of the event log"

    def __str__(self) -> str:
        return f"partition {self.partition} after {self.position}"


class Move(models.Model):
    """A move of one partition between shards: the request, its progress, and the mover that works on it.

    Written only by `configservice.moves.records`.
    """

    partition = models.PositiveSmallIntegerField()
    source = models.ForeignKey(Shard, on_delete=models.PROTECT, related_name="moves_from")
    target = models.ForeignKey(Shard, on_delete=models.PROTECT, related_name="moves_to")
    source_epoch = models.PositiveBigIntegerField(help_text="epoch of the partition before the move")
    target_epoch = models.PositiveBigIntegerField(
        help_text="epoch of the partition after the move; never used by an earlier move"
    )
    state = models.CharField(max_length=11, choices=[(s.value, s.value) for s in MoveState], default=MoveState.PLANNED)
    copied_at_position = models.CharField(max_length=41, default="", blank=True)
    held_at_position = models.CharField(max_length=41, default="", blank=True)
    rows_total = models.PositiveBigIntegerField(default=0, help_text="rows in the snapshot that is copied")
    rows_copied = models.PositiveBigIntegerField(default=0)
    copy_seconds = models.FloatField(default=0.0, help_text="duration of the copy that was used")
    attempts = models.PositiveIntegerField(default=0, help_text="consecutive failures")
    setbacks = models.PositiveIntegerField(default=0, help_text="how often the move went back to an earlier step")
    error = models.TextField(default="", blank=True, help_text="error of the last attempt, or reason of the abort")
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    reason = models.CharField(max_length=REASON_MAX_LENGTH, default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    held_at = models.DateTimeField(null=True, help_text="from then on the source accepts no flush")
    flipped_at = models.DateTimeField(null=True, help_text="from then on the target counts")
    finished_at = models.DateTimeField(null=True)
    lease_owner = models.CharField(max_length=100, default="", blank=True)
    lease_until = models.DateTimeField(null=True)
    claims = models.PositiveBigIntegerField(default=0, help_text="how often a mover has claimed the move")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["partition"],
                condition=~Q(state__in=[MoveState.DONE, MoveState.ABORTED]),
                name="one_move_a_partition",
            ),
            models.CheckConstraint(condition=~Q(source=models.F("target")), name="move_goes_elsewhere"),
            models.CheckConstraint(condition=Q(target_epoch__gt=models.F("source_epoch")), name="move_raises_epoch"),
            models.CheckConstraint(condition=Q(state__in=[s.value for s in MoveState]), name="known_move_state"),
        ]

    def __str__(self) -> str:
        return f"partition {self.partition} from {self.source} to {self.target}"


class Leadership(models.Model):
    """One row: the lease of the leading config service. Written only by `configservice.failover.lease`."""

    ONLY_ID = 1

    id = models.PositiveSmallIntegerField(primary_key=True)
    generation = models.PositiveBigIntegerField()
    holder = models.CharField(max_length=63)
    taken_at = models.DateTimeField()
    renewed_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "leadership"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_leadership")]

    def __str__(self) -> str:
        return f"leader generation {self.generation}: {self.holder}"
