"""Titles of videos and channels: read, put, import many."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from viewcounter.api.answers import encode_channel, encode_video
from viewcounter.api.openapi import documents
from viewcounter.api.parameters import check_id, check_parameters
from viewcounter.api.resources.base import ApiView
from viewcounter.api.serializers import (
    CatalogueImportAnswerSerializer,
    CatalogueImportSerializer,
    ChannelAnswerSerializer,
    ChannelWriteSerializer,
    VideoAnswerSerializer,
    VideoWriteSerializer,
)
from viewcounter.apikeys.scopes import Scope
from viewcounter.catalogue.changes import ChannelEntry, VideoEntry, put_catalogue, put_channel, put_video
from viewcounter.catalogue.errors import UnknownChannels
from viewcounter.catalogue.lookup import get_channel, get_video
from viewcounter.queries.errors import InvalidQuery


class VideoView(ApiView):
    required_scopes = {"GET": Scope.STATS_READ, "PUT": Scope.ADMIN}

    @extend_schema(
        operation_id="getVideo",
        tags=["catalogue"],
        summary="A video's title and channel",
        description="As last written; 404 for a video that is not in the catalogue, whether or not it has events.",
        parameters=[documents.VIDEO_ID],
        responses=VideoAnswerSerializer,
    )
    def get(self, request: Request, video_id: str) -> Response:
        check_parameters(request.query_params, allowed=())
        return Response(encode_video(get_video(check_id("video_id", video_id))))

    @extend_schema(
        operation_id="putVideo",
        tags=["catalogue"],
        summary="Say what a video's title and channel are",
        description="Creates or replaces. The same again changes nothing. The channel must be known.",
        parameters=[documents.VIDEO_ID],
        request=VideoWriteSerializer,
        responses={200: VideoAnswerSerializer, 201: VideoAnswerSerializer},
    )
    def put(self, request: Request, video_id: str) -> Response:
        check_parameters(request.query_params, allowed=())
        body = VideoWriteSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        entry = VideoEntry(video_id=check_id("video_id", video_id), **body.validated_data)
        try:
            changed = put_video(entry)
        except UnknownChannels as error:
            raise InvalidQuery("channel_id", "unknown_channel", "names no channel of the catalogue") from error
        return Response(encode_video(get_video(entry.video_id)), status=201 if changed.created else 200)


class ChannelView(ApiView):
    required_scopes = {"GET": Scope.STATS_READ, "PUT": Scope.ADMIN}

    @extend_schema(
        operation_id="getChannel",
        tags=["catalogue"],
        summary="A channel's title",
        description="As last written; 404 for a channel that is not in the catalogue.",
        parameters=[documents.CHANNEL_ID],
        responses=ChannelAnswerSerializer,
    )
    def get(self, request: Request, channel_id: str) -> Response:
        check_parameters(request.query_params, allowed=())
        return Response(encode_channel(get_channel(check_id("channel_id", channel_id))))

    @extend_schema(
        operation_id="putChannel",
        tags=["catalogue"],
        summary="Say what a channel's title is",
        description="Creates or replaces. The same again changes nothing.",
        parameters=[documents.CHANNEL_ID],
        request=ChannelWriteSerializer,
        responses={200: ChannelAnswerSerializer, 201: ChannelAnswerSerializer},
    )
    def put(self, request: Request, channel_id: str) -> Response:
        check_parameters(request.query_params, allowed=())
        body = ChannelWriteSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        entry = ChannelEntry(channel_id=check_id("channel_id", channel_id), **body.validated_data)
        changed = put_channel(entry)
        return Response(encode_channel(get_channel(entry.channel_id)), status=201 if changed.created else 200)


class CatalogueImportView(ApiView):
    required_scopes = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="importCatalogue",
        tags=["catalogue"],
        summary="Put many channels and videos at once",
        description="Up to 1,000 entries, all or nothing; channels first. The same again changes nothing.",
        request=CatalogueImportSerializer,
        responses=CatalogueImportAnswerSerializer,
    )
    def post(self, request: Request) -> Response:
        check_parameters(request.query_params, allowed=())
        body = CatalogueImportSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        videos = [VideoEntry(**video) for video in body.validated_data["videos"]]
        channels = [ChannelEntry(**channel) for channel in body.validated_data["channels"]]
        try:
            changed = put_catalogue(channels=channels, videos=videos)
        except UnknownChannels as error:
            index = next(i for i, video in enumerate(videos) if video.channel_id in error.channel_ids)
            message = f"{len(error.channel_ids)} channels are unknown; the first is {videos[index].channel_id}"
            raise InvalidQuery(f"videos[{index}].channel_id", "unknown_channel", message) from error
        return Response({"created": changed.created, "updated": changed.updated})
