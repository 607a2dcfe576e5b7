"""Tables of the control database: killed sessions."""

from django.db import models


class Kill(models.Model):
    """A session whose statement a shard proxy cancelled, or that it terminated. Written by `shardwatch.kills` only.

    `since`: start of its statement, or of its idling. A statement that two shard proxies cancelled is one row.
    """

    at = models.DateTimeField(help_text="by the clock of the instance")
    shard = models.CharField(max_length=63)
    instance = models.CharField(max_length=63)
    action = models.CharField(max_length=9, help_text="cancel: the statement was ended; terminate: the session")
    reason = models.CharField(max_length=19)
    session_class = models.CharField("class", max_length=15)
    age_seconds = models.FloatField()
    budget_seconds = models.FloatField()
    pid = models.IntegerField()
    backend_start = models.DateTimeField()
    since = models.DateTimeField()
    user = models.CharField(max_length=63)
    application = models.CharField(max_length=63, blank=True)
    client_address = models.GenericIPAddressField(null=True, blank=True, help_text="empty: over a socket of its host")
    fingerprint = models.CharField(
        max_length=20, help_text="PostgreSQL's query id, as in pg_stat_statements; a digest where it computes none"
    )
    statement = models.TextField(help_text="without values")

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["-at", "-id"], name="kill_newest_first")]
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "pid", "backend_start", "since", "action"], name="one_kill_a_statement"
            )
        ]

    def __str__(self) -> str:
        return f"{self.action} on {self.instance} at {self.at:%Y-%m-%d %H:%M:%S}"


class ServiceRow(models.Model):
    """Gives the service registry, which is in the cache, an admin page with permissions. Has no table."""

    class Meta:
        managed = False
        default_permissions = ("view",)
        verbose_name = "service"

    def __str__(self) -> str:
        return f"service {self.pk}"
