"""Counters, and raw events in two tables: with and without unique ids."""

from django.db import models


class EventType(models.TextChoices):
    VIEW = "view"
    LIKE = "like"
    DISLIKE = "dislike"
    COMMENT = "comment"
    SHARE = "share"
    WATCH_TIME = "watch_time"


class VideoCount(models.Model):
    video_id = models.CharField(max_length=128)
    event_type = models.CharField(max_length=64, choices=EventType)
    count = models.BigIntegerField(default=0)
    value_sum = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["video_id", "event_type"], name="one_count_a_video_and_type")]

    def __str__(self) -> str:
        return f"{self.video_id} {self.event_type}: {self.count}"


class EventFields(models.Model):
    video_id = models.CharField(max_length=128)
    event_type = models.CharField(max_length=64, choices=EventType)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(auto_now_add=True)
    value = models.FloatField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.event_type} of {self.video_id} at {self.occurred_at}"


class RawEvent(EventFields):
    event_id = models.UUIDField()


class CheckedEvent(EventFields):
    event_id = models.UUIDField(primary_key=True)
