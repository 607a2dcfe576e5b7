"""Tables of the control database for failovers and shard conditions."""

from enum import StrEnum

from django.db import models
from django.db.models import Q

from configservice.failover.state import FailoverKind, FailoverState

TEXT_MAX_LENGTH = 500


def _list_choices(kind: type[StrEnum]) -> list[tuple[str, str]]:
    return [(member.value, member.value) for member in kind]


class Failover(models.Model):
    """One change of a shard's primary, from the request or the detected failure to its end. Instances are stored by
    name, so that the history outlives them. Only the leading config service changes a row after its creation."""

    shard = models.ForeignKey("configservice.Shard", on_delete=models.PROTECT, related_name="failovers")
    kind = models.CharField(max_length=10, choices=_list_choices(FailoverKind))
    state = models.CharField(max_length=10, choices=_list_choices(FailoverState))
    reason = models.CharField(max_length=TEXT_MAX_LENGTH)
    actor = models.CharField(max_length=150)
    target = models.CharField(
        max_length=63, blank=True, help_text="the requested instance; empty: the most advanced one"
    )
    accepts_loss = models.BooleanField(
        default=False,
        db_default=False,
        help_text="the requested instance may lack entries that the event log no longer holds",
    )
    old_primary = models.CharField(max_length=63, blank=True)
    candidate = models.CharField(max_length=63, blank=True)
    term = models.PositiveBigIntegerField(null=True, blank=True)
    synchronous_standby_names = models.TextField(blank=True, help_text="last known setting of the old primary")
    message = models.CharField(max_length=TEXT_MAX_LENGTH, blank=True, help_text="outcome, or reason of the wait")
    epoch = models.PositiveBigIntegerField(null=True, blank=True, help_text="epoch that published the new roles")
    write_pause_ms = models.PositiveIntegerField(null=True, blank=True)
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    chosen_at = models.DateTimeField(null=True, blank=True)
    promoted_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-requested_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["shard"], condition=Q(finished_at__isnull=True), name="one_open_failover_per_shard"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.shard_id}: {self.old_primary} -> {self.candidate or '?'}"


class Condition(StrEnum):
    """Condition of a shard, as observed by the leading config service."""

    WELL = "well"
    WITHOUT_REPLICA = "without replica"
    """The shard works, but no replica could be promoted if its primary died."""
    SUSPECT = "suspect"
    """The primary does not answer the config service; no witness has confirmed yet that it is dead."""
    CHANGING = "changing primary"
    """A failover is running: writes wait in the log for a moment."""
    WITHOUT_PRIMARY = "without primary"
    """Writes wait in the log, running replicas answer reads; an operator must bring an instance back."""


class ShardCondition(models.Model):
    """The latest condition of a shard, and since when. `seen_at` is refreshed while a config service leads."""

    shard = models.OneToOneField(
        "configservice.Shard", on_delete=models.CASCADE, related_name="condition", primary_key=True
    )
    condition = models.CharField(max_length=16, choices=_list_choices(Condition))
    detail = models.CharField(max_length=TEXT_MAX_LENGTH, blank=True)
    since = models.DateTimeField()
    seen_at = models.DateTimeField()
    log_kept_for = models.JSONField(
        null=True, help_text="names of the absent replicas that the event log is kept for; null: none"
    )
    log_kept_bytes = models.BigIntegerField(null=True, help_text="size of the shard's entries in the event log")
    log_share_bytes = models.BigIntegerField(
        null=True, help_text="size up to which the log is kept for absent replicas"
    )
    log_full_seconds = models.FloatField(
        null=True, help_text="time until that size at the current growth; null: it does not grow"
    )

    def __str__(self) -> str:
        return f"{self.shard_id}: {self.condition}"
