"""Bodies: what requests must look like, and what answers look like in the OpenAPI document.

Requests are validated by these. Answers are built in `answers.py`; a test holds every answer to the document.
"""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from viewcounter.api.read_options import RouteSerializer
from viewcounter.catalogue.limits import ID_MAX_CHARACTERS, ID_VALIDATORS, TITLE_MAX_CHARACTERS, TITLE_VALIDATORS
from viewcounter.config import get_config
from viewcounter.events.message import normalize_id
from viewcounter.health.cluster_health import Status
from viewcounter.queries.meta import Source

REVISION = "Of the last change. Statistics of channels know it once their `meta.catalogue_revision` is as high."


class TextField(serializers.CharField):
    """Text as sent: never trimmed, and a number is not text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text


@extend_schema_field({"type": "string", "minLength": 1, "maxLength": ID_MAX_CHARACTERS})
class IdField(TextField):
    """A video or channel id, with the limits of events."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=ID_MAX_CHARACTERS, validators=list(ID_VALIDATORS), **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return normalize_id(super().to_internal_value(data))


@extend_schema_field({"type": "string", "maxLength": TITLE_MAX_CHARACTERS})
class TitleField(TextField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=TITLE_MAX_CHARACTERS, allow_blank=True, validators=list(TITLE_VALIDATORS), **kwargs)


class RequestSerializer(serializers.Serializer):
    """Refuses fields it does not know: a misspelt one would otherwise count as left out."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        values: dict[str, Any] = super().to_internal_value(data)
        unknown = [str(name)[:64] for name in data if name not in self.fields]
        if unknown:
            known = ", ".join(self.fields)
            message = f"is not a field here; there are: {known}"
            raise serializers.ValidationError({name: [message] for name in unknown}, code="unknown_field")
        return values


class ChannelWriteSerializer(RequestSerializer):
    title = TitleField()


class VideoWriteSerializer(RequestSerializer):
    title = TitleField()
    channel_id = IdField(required=False, allow_null=True, default=None)


class ChannelSerializer(RequestSerializer):
    channel_id = IdField()
    title = TitleField()


class VideoSerializer(RequestSerializer):
    video_id = IdField()
    title = TitleField()
    channel_id = IdField(required=False, allow_null=True, default=None)


class ChannelAnswerSerializer(ChannelSerializer):
    revision = serializers.IntegerField(help_text=REVISION)


class VideoAnswerSerializer(VideoSerializer):
    revision = serializers.IntegerField(help_text=REVISION)


class CatalogueImportSerializer(RequestSerializer):
    channels = serializers.ListField(child=ChannelSerializer(), required=False, default=list)
    videos = serializers.ListField(child=VideoSerializer(), required=False, default=list)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        limit = get_config().catalogue.import_max_items
        count = len(attrs["channels"]) + len(attrs["videos"])
        if count > limit:
            raise serializers.ValidationError(f"At most {limit} entries at once, not {count}.", code="too_many_items")
        return attrs


class CatalogueImportAnswerSerializer(serializers.Serializer):
    created = serializers.IntegerField(min_value=0)
    updated = serializers.IntegerField(min_value=0, help_text="entries that differed from what stood there")


class CountsQuerySerializer(RequestSerializer):
    video_ids = serializers.ListField(child=IdField(), min_length=1)

    def validate_video_ids(self, video_ids: list[str]) -> list[str]:
        limit = get_config().api.counts_query_max_videos
        if len(video_ids) > limit:
            raise serializers.ValidationError(
                f"At most {limit} videos at once, not {len(video_ids)}.", code="max_length"
            )
        return video_ids


class LostRangeSerializer(serializers.Serializer):
    partition = serializers.IntegerField(min_value=0)
    after = serializers.CharField(help_text="Position in its log; entries past it, up to `through`, may be lost.")
    through = serializers.CharField()
    found_at = serializers.DateTimeField()


class MetaSerializer(serializers.Serializer):
    complete_until = serializers.DateTimeField(help_text="Every event received before this is in the answer.")
    as_of = serializers.DateTimeField(help_text="When the answer was read.")
    stale = serializers.BooleanField(help_text="Some rows are from an earlier answer, because a shard does not answer.")
    age_seconds = serializers.FloatField(required=False, min_value=0, help_text="With `stale` only: how old it is.")
    partial = serializers.BooleanField(help_text="Something is left out; `missing` names it.")
    missing = serializers.ListField(
        child=serializers.CharField(),
        help_text="Video ids, or for top lists the names of shards, that did not answer. Never counted as zero.",
    )
    source = serializers.ListField(
        child=serializers.ChoiceField(choices=[source.value for source in Source]),
        help_text="Kinds of rows the answer is made from, coarsest first.",
    )
    approximate = serializers.DictField(
        child=serializers.DictField(child=serializers.FloatField()),
        required=False,
        help_text=(
            "Of functions that are estimates, how far from exact they may be. `unique_viewers`: "
            "`relative_standard_error`, two of three answers are within it. Percentiles: `rank_error`, 99 of 100 are "
            "no further from their rank. `lg_k` and `k` are the sizes of the sketches. Left out where the "
            "answer is exact."
        ),
    )
    lost = LostRangeSerializer(
        many=True,
        required=False,
        help_text=(
            "Only after the event log has lost acknowledged events, until an operator closes the loss: ranges of the "
            "logs of these partitions whose events may be missing, newest first, at most 20."
        ),
    )
    route = RouteSerializer(
        many=True, required=False, help_text="With `explain=route`: how each shard came to its part of the answer."
    )


class CountsField(serializers.DictField):
    """Event type -> number of events."""

    child = serializers.IntegerField(min_value=0)


class VideoCountsSerializer(serializers.Serializer):
    video_id = serializers.CharField()
    known = serializers.BooleanField(
        help_text="False: the video has no events and is not in the catalogue; perhaps its id is misspelt."
    )
    counts = CountsField(help_text="Every event type there is, zeros included.")


class VideoCountsAnswerSerializer(VideoCountsSerializer):
    meta = MetaSerializer()


class ManyCountsAnswerSerializer(serializers.Serializer):
    videos = VideoCountsSerializer(many=True)
    meta = MetaSerializer()


class BucketSerializer(serializers.Serializer):
    start = serializers.DateTimeField(help_text="Start of the bucket, with the offset of `tz` at that moment.")
    value = serializers.FloatField(allow_null=True)


class PreviousStatsSerializer(serializers.Serializer):
    start_time = serializers.DateTimeField()
    end_time = serializers.DateTimeField()
    value = serializers.FloatField(allow_null=True)
    series = BucketSerializer(many=True, required=False, help_text="With an interval only.")
    meta = MetaSerializer()


class StatsAnswerSerializer(serializers.Serializer):
    video_id = serializers.CharField()
    event_type = serializers.CharField()
    function = serializers.CharField()
    start_time = serializers.DateTimeField(allow_null=True, help_text="Effective start, inclusive; null: open.")
    end_time = serializers.DateTimeField(allow_null=True, help_text="Effective end, exclusive; null: open.")
    interval = serializers.CharField(required=False)
    tz = serializers.CharField(
        required=False, help_text="With an interval only: whose clock and calendar cut it, as the database spells it."
    )
    week_start = serializers.CharField(required=False, help_text="With `interval=week` only.")
    value = serializers.FloatField(
        allow_null=True,
        help_text="Over the whole period. No events: 0 for count, sum and unique_viewers, null for the others.",
    )
    series = BucketSerializer(many=True, required=False, help_text="With an interval only.")
    previous = PreviousStatsSerializer(required=False, help_text="With `compare` only, as are the next two.")
    delta = serializers.FloatField(required=False, allow_null=True, help_text="Value minus the value before.")
    ratio = serializers.FloatField(
        required=False, allow_null=True, help_text="Value by the value before; null where that is zero or null."
    )
    meta = MetaSerializer()


class TopItemSerializer(serializers.Serializer):
    video_id = serializers.CharField()
    title = serializers.CharField(allow_null=True)
    value = serializers.FloatField()


class TopAnswerSerializer(serializers.Serializer):
    event_type = serializers.CharField()
    function = serializers.CharField()
    start_time = serializers.DateTimeField(allow_null=True)
    end_time = serializers.DateTimeField(allow_null=True)
    items = TopItemSerializer(many=True)
    meta = MetaSerializer()


class HealthSerializer(serializers.Serializer):
    status = serializers.ChoiceField(choices=["ok"])


class PartSerializer(serializers.Serializer):
    status = serializers.ChoiceField(choices=[status.value for status in Status])
    reason = serializers.CharField(allow_blank=True, help_text="For people; empty when there is nothing to say.")


class ReadinessSerializer(serializers.Serializer):
    status = serializers.ChoiceField(
        choices=["ready", "degraded", "unready"],
        help_text="`unready`: events cannot be accepted durably. `degraded`: they can, and some part is not up.",
    )
    parts = serializers.DictField(child=PartSerializer(), help_text="By name; no name of a host.")
