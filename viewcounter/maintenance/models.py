"""Tables of the control database: audit findings and recounts."""

import uuid

from django.db import models

from viewcounter.catalogue.limits import ID_MAX_CHARACTERS


class AuditFinding(models.Model):
    """One comparison of one hour of one partition that differed; resolved when both sides are equal again.

    `hour` is null for all-time totals. Written by `maintenance.findings` only.
    """

    partition = models.PositiveSmallIntegerField()
    hour = models.DateTimeField(null=True, blank=True)
    comparison = models.CharField(max_length=16)
    drift_events = models.BigIntegerField(help_text="by how many events; 0 when only values or identities differ")
    text = models.TextField()
    differences = models.JSONField(default=list, help_text="the first rows that differ")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-last_seen_at", "partition", "hour"]
        constraints = [
            models.UniqueConstraint(
                fields=["partition", "hour", "comparison"], name="one_finding_a_comparison", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        hour = "all time" if self.hour is None else f"{self.hour:%Y-%m-%d %H:00}"
        return f"partition {self.partition}, {hour}: {self.comparison}"


class RecountState(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class RecountJob(models.Model):
    """One recount of a video or of a whole partition. Written by `maintenance.recount_jobs` only.

    `next_first`: videos before it are done. `lease_until`: a worker runs it until then. `differences` lists the first
    rows of each tier and `difference_counts` counts all of them: found, or corrected if `apply`. `corrected_on`: the
    shard and shard term on which the corrections were made, or found again after a change of primary.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    partition = models.PositiveSmallIntegerField()
    video_id = models.CharField(max_length=ID_MAX_CHARACTERS, blank=True, help_text="empty: the whole partition")
    apply = models.BooleanField()
    actor = models.CharField(max_length=200)
    state = models.CharField(max_length=8, choices=RecountState.choices, default=RecountState.QUEUED)
    next_first = models.TextField(blank=True)
    videos_done = models.PositiveBigIntegerField(default=0)
    videos_total = models.PositiveBigIntegerField(null=True, blank=True)
    difference_counts = models.JSONField(default=dict)
    differences = models.JSONField(default=list)
    corrected_on = models.CharField(max_length=90, blank=True, default="", db_default="", editable=False)
    error = models.TextField(blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(
                fields=["created_at"],
                name="recount_unfinished",
                condition=models.Q(state__in=[RecountState.QUEUED, RecountState.RUNNING]),
            )
        ]

    def __str__(self) -> str:
        return f"{'video ' + self.video_id if self.video_id else 'partition ' + str(self.partition)} ({self.state})"


class DeadLetterRow(models.Model):
    """Gives dead letters, which are on the shards, an admin page with permissions. Has no table."""

    class Meta:
        managed = False
        default_permissions = ("view", "change")
        verbose_name = "dead letter"

    def __str__(self) -> str:
        return f"dead letter {self.pk}"


class LogLossRow(models.Model):
    """Gives losses of the event log, which are on the shards, an admin page with permissions. Has no table."""

    class Meta:
        managed = False
        default_permissions = ("view", "change")
        verbose_name = "lost range of the event log"
        verbose_name_plural = "lost ranges of the event log"

    def __str__(self) -> str:
        return f"lost range {self.pk}"


class ConflictRow(models.Model):
    """Gives conflicts, which are on the shards, an admin page with permissions. Has no table."""

    class Meta:
        managed = False
        default_permissions = ("view",)
        verbose_name = "conflict"

    def __str__(self) -> str:
        return f"conflict {self.pk}"
