"""Counts of channels: the sum over the videos that belong to them now."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from viewcounter.api import read_options
from viewcounter.api.answers import encode_meta
from viewcounter.api.http_caching import build_read_response
from viewcounter.api.openapi import documents
from viewcounter.api.parameters import check_id
from viewcounter.api.resources.base import ReadView
from viewcounter.api.serializers import CountsField, MetaSerializer
from viewcounter.apikeys.scopes import Scope
from viewcounter.cache.process import find_read_cache
from viewcounter.cluster import get_cluster
from viewcounter.queries.counts import ChannelCounts, get_channel_counts

MEMBERSHIP = (
    "The sum over the videos that belong to the channel now, with all their events: a video that changes its channel "
    "takes its past along. `meta.catalogue_revision` says which changes of the catalogue are in it; shards that do "
    "not answer are named in `meta.missing`."
)


class ChannelMetaSerializer(MetaSerializer):
    catalogue_revision = serializers.IntegerField(
        help_text="Changes of videos and channels up to this revision are in the answer."
    )


class ChannelCountsAnswerSerializer(serializers.Serializer):
    channel_id = serializers.CharField()
    counts = CountsField(help_text="Every event type there is, zeros included.")
    meta = ChannelMetaSerializer()


class ChannelCountsView(ReadView):
    required_scopes = {"GET": Scope.STATS_READ}

    @extend_schema(
        operation_id="getChannelCounts",
        tags=["reads"],
        summary="Events of every type on a channel's videos, over all time",
        description=MEMBERSHIP,
        parameters=[documents.CHANNEL_ID, *read_options.OF_MANY_PARTITIONS],
        responses=ChannelCountsAnswerSerializer,
    )
    def get(self, request: Request, channel_id: str) -> HttpResponse:
        options = self.get_options(request, one_video=False)
        channel_id = check_id("channel_id", channel_id)
        answer = get_channel_counts(
            get_cluster(), channel_id=channel_id, now=datetime.now(UTC), options=options, cache=find_read_cache()
        )
        return build_read_response(request, encode_channel_counts(answer), meta=answer.meta)


def encode_channel_counts(answer: ChannelCounts) -> dict[str, Any]:
    meta = encode_meta(answer.meta) | {"catalogue_revision": answer.catalogue_revision}
    return {"channel_id": answer.channel_id, "counts": dict(answer.counts), "meta": meta}
