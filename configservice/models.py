"""Control data: the tables behind the topology snapshot, and every snapshot there ever was.

Nothing here takes effect by being saved. What processes act on is the newest `TopologyEpoch`, written by
`configservice.topology.publication.publish`.
"""

from uuid import uuid4

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Deferrable, Q

from configservice.failover.records import Failover, Leadership, ShardCondition  # noqa: F401 - for Django to find
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
    PASSWORD_REF_PATTERN, "Say where the password is, env:NAME or file:/absolute/path. Never the password itself."
)


class RoleChoice(models.TextChoices):
    PRIMARY = Role.PRIMARY.value, "primary"
    REPLICA = Role.REPLICA.value, "replica"
    FENCED = Role.FENCED.value, "fenced"


class DurabilityChoice(models.TextChoices):
    ASYNC = Durability.ASYNC.value, "async: the primary"
    QUORUM = Durability.QUORUM.value, "quorum: the primary and so many replicas"
    ALL = Durability.ALL.value, "all: the primary and every replica"


class StandbyLossChoice(models.TextChoices):
    DEGRADE = StandbyLoss.DEGRADE.value, "degrade: wait for those that are left"
    BLOCK = StandbyLoss.BLOCK.value, "block: wait until they are back"


class SslMode(models.TextChoices):
    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Cluster(models.Model):
    """The one row that names this cluster, made by its first publication. Shards keep a copy of the id."""

    only_row = models.BooleanField(primary_key=True, default=True, editable=False)
    id = models.UUIDField(default=uuid4, editable=False)
    log_id = models.CharField(max_length=LOG_ID_MAX_LENGTH, default="", blank=True, editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(only_row=True), name="one_cluster")]

    def __str__(self) -> str:
        return str(self.id)


class Shard(models.Model):
    """One primary and its replicas. Never deleted: its partitions must be somewhere."""

    id = models.SmallAutoField(primary_key=True)
    name = models.CharField(max_length=63, unique=True, validators=[validate_name])
    term = models.PositiveBigIntegerField(default=1, editable=False, help_text="grows at every change of primary")
    durability = models.CharField(
        max_length=6,
        choices=DurabilityChoice.choices,
        default=DurabilityChoice.ASYNC,
        help_text="who has a commit on disk before it is answered",
    )
    quorum = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1)], help_text="replicas a commit waits for; for quorum only"
    )
    on_standby_loss = models.CharField(
        "on loss of a replica",
        max_length=7,
        choices=StandbyLossChoice.choices,
        default=StandbyLossChoice.DEGRADE,
        help_text="what commits do while fewer replicas are there than the durability asks for",
    )
    failover_mode = models.CharField(
        max_length=9,
        blank=True,
        choices=[(mode.value, mode.value) for mode in FailoverMode],
        help_text="what happens when the primary dies; empty: the cluster's setting",
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
    """One PostgreSQL server of a shard, as processes connect to it."""

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
        help_text="where the password is: env:NAME or file:/absolute/path",
    )
    zone = models.CharField(max_length=63, default="local")
    promotable = models.BooleanField(default=True, help_text="may become primary; the event log is kept for it")
    drained = models.BooleanField(default=False, help_text="neither read from nor waited for: may be taken away")
    away_since = models.DateTimeField(
        null=True,
        editable=False,
        help_text="since when it neither answers nor follows its primary",
    )
    struck_off_at = models.DateTimeField(
        null=True, editable=False, help_text="not promotable since, as the event log could not wait for it any longer"
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
        """Raises ValidationError. Connections to such an instance are refused as well, whoever wrote its row."""
        if self.sslmode == SslMode.PREFER and not is_loopback(self.host):
            raise ValidationError(
                {
                    "sslmode": "prefer could drop TLS silently on the way to another machine; choose verify-full, "
                    "verify-ca or require, or disable in a network that you trust"
                }
            )


class PartitionAssignment(models.Model):
    """Where one partition lives. `epoch` is the partition's own and grows each time it moves."""

    partition = models.PositiveSmallIntegerField(primary_key=True)
    shard = models.ForeignKey(Shard, on_delete=models.PROTECT, related_name="assignments")
    epoch = models.PositiveBigIntegerField(default=1)

    class Meta:
        ordering = ["partition"]

    def __str__(self) -> str:
        return f"partition {self.partition}"


class EventType(models.Model):
    """What can be counted. Never deleted or given another meaning: rows on every shard hold its id."""

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
    """One published snapshot, whole. The one with the highest epoch is true; the others say what was, and why."""

    epoch = models.PositiveBigIntegerField(primary_key=True)
    snapshot = models.TextField()
    signatures = models.JSONField(default=dict, db_default={}, editable=False)
    """Of `snapshot`, by key id. The release before knows nothing of it and leaves it to the database."""
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
    """What the event log has lost of one partition: what it held past `position` and no shard had applied.

    Written once, by `configservice.topology.event_log`, and kept for ever: how many events there were is not known.
    """

    partition = models.PositiveSmallIntegerField()
    shard = models.CharField(max_length=63, help_text="name of the shard that had applied the log so far")
    position = models.CharField(max_length=POSITION_MAX_LENGTH, help_text="the last entry applied before the loss")
    log_id = models.CharField(max_length=LOG_ID_MAX_LENGTH, blank=True, help_text="of the log that lost its entries")
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
    """One partition on its way from one shard to another: what was asked for, how far it is, who is at it.

    Written only by `configservice.moves.records`.
    """

    partition = models.PositiveSmallIntegerField()
    source = models.ForeignKey(Shard, on_delete=models.PROTECT, related_name="moves_from")
    target = models.ForeignKey(Shard, on_delete=models.PROTECT, related_name="moves_to")
    source_epoch = models.PositiveBigIntegerField(help_text="the partition's own, before the move")
    target_epoch = models.PositiveBigIntegerField(help_text="and after it; never used by an earlier move")
    state = models.CharField(max_length=11, choices=[(s.value, s.value) for s in MoveState], default=MoveState.PLANNED)
    copied_at_position = models.CharField(max_length=41, default="", blank=True)
    held_at_position = models.CharField(max_length=41, default="", blank=True)
    rows_total = models.PositiveBigIntegerField(default=0, help_text="in the snapshot that is copied")
    rows_copied = models.PositiveBigIntegerField(default=0)
    copy_seconds = models.FloatField(default=0.0, help_text="of the copy that was used")
    attempts = models.PositiveIntegerField(default=0, help_text="failures in a row")
    setbacks = models.PositiveIntegerField(default=0, help_text="how often it had to go back a step")
    error = models.TextField(
        default="", blank=True, help_text="what the last attempt ended with, or why it was aborted"
    )
    actor = models.CharField(max_length=ACTOR_MAX_LENGTH)
    reason = models.CharField(max_length=REASON_MAX_LENGTH, default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    held_at = models.DateTimeField(null=True, help_text="the source takes no flush from here on")
    flipped_at = models.DateTimeField(null=True, help_text="the target may count from here on")
    finished_at = models.DateTimeField(null=True)
    lease_owner = models.CharField(max_length=100, default="", blank=True)
    lease_until = models.DateTimeField(null=True)
    claims = models.PositiveBigIntegerField(default=0, help_text="how often a mover has taken it up")

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
