"""Channels and videos in the admin: search, view, add, rename. No deletion: counts outlive the catalogue."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from viewcounter.catalogue.changes import ChannelEntry, VideoEntry, put_channel, put_video
from viewcounter.catalogue.models import Channel, Video


class CatalogueAdmin(admin.ModelAdmin):
    """Saves through `changes`, so that every change gets a revision and reaches the shards. Ids are immutable."""

    readonly_fields = ["revision"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [self.model._meta.pk.name, *self.readonly_fields] if obj else [*self.readonly_fields]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Channel)
class ChannelAdmin(CatalogueAdmin):
    list_display = ["channel_id", "title", "revision"]
    search_fields = ["channel_id", "title"]

    def save_model(self, request: HttpRequest, obj: Channel, form: Any, change: bool) -> None:
        put_channel(ChannelEntry(channel_id=obj.channel_id, title=obj.title))
        obj.refresh_from_db()


@admin.register(Video)
class VideoAdmin(CatalogueAdmin):
    list_display = ["video_id", "title", "channel", "revision"]
    list_select_related = ["channel"]
    search_fields = ["video_id", "title", "channel__title"]
    autocomplete_fields = ["channel"]

    def save_model(self, request: HttpRequest, obj: Video, form: Any, change: bool) -> None:
        put_video(VideoEntry(video_id=obj.video_id, title=obj.title, channel_id=obj.channel_id))
        obj.refresh_from_db()
