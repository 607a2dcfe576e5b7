"""Channels and videos in the control database, of which the shards have copies.

Written by `viewcounter.catalogue.changes` only, which gives every change its revision. Rows are never deleted: counts
outlive the catalogue.
"""

from urllib.parse import quote

from django.db import models

from viewcounter.catalogue.limits import ID_MAX_CHARACTERS, ID_VALIDATORS, TITLE_MAX_CHARACTERS, TITLE_VALIDATORS
from viewcounter.events.message import normalize_id


class Channel(models.Model):
    """`revision` grows with every change, in one sequence for channels and videos."""

    channel_id = models.CharField(
        primary_key=True, max_length=ID_MAX_CHARACTERS, validators=ID_VALIDATORS, db_collation="C"
    )
    title = models.CharField(max_length=TITLE_MAX_CHARACTERS, blank=True, default="", validators=TITLE_VALIDATORS)
    revision = models.BigIntegerField(unique=True, editable=False)

    class Meta:
        ordering = ["channel_id"]

    def __str__(self) -> str:
        return str(self.title or self.channel_id)

    def get_absolute_url(self) -> str:
        """The page with its counts; the admin links to it."""
        return f"/channels/{quote(self.channel_id, safe='')}"

    def clean(self) -> None:
        self.channel_id = normalize_id(self.channel_id)


class Video(models.Model):
    """`channel` is null while the channel of a video is not known."""

    video_id = models.CharField(
        primary_key=True, max_length=ID_MAX_CHARACTERS, validators=ID_VALIDATORS, db_collation="C"
    )
    channel = models.ForeignKey(Channel, on_delete=models.PROTECT, null=True, blank=True, related_name="videos")
    title = models.CharField(max_length=TITLE_MAX_CHARACTERS, blank=True, default="", validators=TITLE_VALIDATORS)
    revision = models.BigIntegerField(unique=True, editable=False)

    class Meta:
        ordering = ["video_id"]

    def __str__(self) -> str:
        return str(self.title or self.video_id)

    def get_absolute_url(self) -> str:
        """The page with its counts; the admin links to it."""
        return f"/videos/{quote(self.video_id, safe='')}"

    def clean(self) -> None:
        self.video_id = normalize_id(self.video_id)
