"""The pages: lists of videos and of channels, one video, one channel, the parts that move by themselves, and CSV."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from viewcounter.cache.process import find_read_cache
from viewcounter.catalogue.limits import ID_MAX_CHARACTERS, ID_VALIDATORS
from viewcounter.catalogue.models import Channel, Video
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.events.message import normalize_id
from viewcounter.pages.charts import format_number
from viewcounter.pages.figures import (
    Card,
    Choice,
    Trend,
    attempt,
    describe_row,
    draw_live,
    draw_period,
    explain,
    list_figures,
    read_halves,
    read_totals,
)
from viewcounter.pages.readers import for_readers
from viewcounter.pages.spans import SPANS, get_span
from viewcounter.queries.counts import get_counts_of_videos
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Function
from viewcounter.queries.targets import StatsTarget, TargetKind
from viewcounter.queries.top import TopQuery, get_top
from viewcounter.queries.zones import get_zone, get_zone_name

ROWS = 20
SEARCH_MAX_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    title: str
    address: str
    sparkline: str
    value: str
    change: Trend


@dataclass(frozen=True, slots=True)
class VideoRow:
    """A video of a channel, with its counts over all time."""

    id: str
    title: str
    values: tuple[str, ...]


@for_readers
def list_videos(request: HttpRequest) -> HttpResponse:
    """`GET /videos/`: the videos with the most events of a type in a period, or those that a search finds."""
    now, choice = datetime.now(UTC), _read_choice(request)
    found, problem = explain(lambda: _search_videos(choice.search) if choice.search else _list_top(choice, now=now))
    rows = [_make_row(StatsTarget.video(video_id), title, choice, now=now) for video_id, title in found or ()]
    description = f"Most events of the type first, {ROWS} at most."
    return _render_list(request, choice, "video", "Videos", description, rows=rows, problem=problem)


@for_readers
def list_channels(request: HttpRequest) -> HttpResponse:
    """`GET /channels/`: channels by title, or those that a search finds."""
    now, choice = datetime.now(UTC), _read_choice(request)
    channels = Channel.objects.order_by("title", "channel_id")
    if choice.search:
        channels = channels.filter(Q(title__icontains=choice.search) | Q(channel_id__startswith=choice.search))
    rows = [_make_row(StatsTarget.channel(c.channel_id), c.title, choice, now=now) for c in channels[:ROWS]]
    return _render_list(request, choice, "channel", "Channels", f"By title, {ROWS} at most.", rows=rows)


@for_readers
def show_video(request: HttpRequest, video_id: str) -> HttpResponse:
    """`GET /videos/{id}`: everything that is counted of a video, also of one that the catalogue lacks."""
    video_id = normalize_id(video_id)
    video = Video.objects.select_related("channel").filter(video_id=video_id).first()
    target = _check_target(StatsTarget.video(video_id))
    more = {"channel": video and video.channel}
    return _render_target(request, target, title=video.title if video else "", more=more)


@for_readers
def show_channel(request: HttpRequest, channel_id: str) -> HttpResponse:
    """`GET /channels/{id}`: the same over the videos of a channel, and some of them."""
    channel_id = normalize_id(channel_id)
    channel = Channel.objects.filter(channel_id=channel_id).first()
    if channel is None:
        raise Http404(f"no channel {channel_id!r}")
    more = {"rows": _list_channel_videos(channel)}
    return _render_target(request, StatsTarget.channel(channel_id), title=channel.title, more=more)


@for_readers
def show_live(request: HttpRequest, kind: str, target_id: str) -> HttpResponse:
    """`GET /videos/{id}/live`: the part of a page that is requested again while it is shown."""
    target, choice = _check_target(StatsTarget(TargetKind(kind), normalize_id(target_id))), _read_choice(request)
    live = draw_live(target, choice.event_type, zone_name=choice.zone_name, now=datetime.now(UTC))
    return render(request, "pages/live.html", {"live": live})


@for_readers
def download_csv(request: HttpRequest, kind: str, target_id: str) -> HttpResponse:
    """`GET /videos/{id}.csv`: the bars of the chart, and those of the period before."""
    target, choice = _check_target(StatsTarget(TargetKind(kind), normalize_id(target_id))), _read_choice(request)
    halves = attempt(lambda: read_halves(target, choice, now=datetime.now(UTC)))
    if halves is None:
        return HttpResponse("The counts cannot be read now.\n", status=503, content_type="text/plain; charset=utf-8")
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{kind}-{choice.event_type}-{choice.span.name}.csv"'
    writer = csv.writer(response)
    writer.writerow(["period", "start", choice.event_type])
    for name, half in zip(("previous", "current"), reversed(halves), strict=True):
        writer.writerows([name, bucket.start.isoformat(), bucket.value] for bucket in half)
    return response


def _render_list(
    request: HttpRequest,
    choice: Choice,
    kind: str,
    heading: str,
    description: str,
    *,
    rows: list[Row],
    problem: str = "",
) -> HttpResponse:
    context = {"title": heading, "description": description, "kind": kind, "rows": rows, "problem": problem}
    return render(request, "pages/list.html", {**_describe_choice(choice), "section": f"{kind}s", **context})


def _render_target(request: HttpRequest, target: StatsTarget, *, title: str, more: dict[str, Any]) -> HttpResponse:
    now, choice = datetime.now(UTC), _read_choice(request)
    types = {event_type.name: event_type.valued for event_type in get_cluster().topology.event_types}
    chart, problem = explain(lambda: draw_period(target, choice, now=now))
    totals, is_known = attempt(lambda: read_totals(target, now=now)) or ({}, True)
    context = {
        "title": title or target.id,
        "id": target.id,
        "kind": target.kind.value,
        "section": f"{target.kind}s",
        "address": f"/{target.kind}s/{quote(target.id, safe='')}",
        "known": is_known,
        "totals": [Card(name, format_number(count)) for name, count in totals.items()],
        "live": draw_live(target, choice.event_type, zone_name=choice.zone_name, now=now),
        "chart": chart,
        "figures": [] if problem else list_figures(target, choice, types, now=now),
        "problem": problem,
        **more,
    }
    return render(request, "pages/detail.html", {**_describe_choice(choice), **context})


def _describe_choice(choice: Choice) -> dict[str, Any]:
    query = urlencode({"event_type": choice.event_type, "period": choice.span.name, "tz": choice.zone_name})
    shown = {
        "event_type": choice.event_type,
        "span": choice.span,
        "zone_name": choice.zone_name,
        "search": choice.search,
        "query": query,
    }
    return {
        "choice": shown,
        "zone_name": choice.zone_name,
        "spans": SPANS,
        "event_types": [event_type.name for event_type in get_cluster().topology.event_types],
    }


def _read_choice(request: HttpRequest) -> Choice:
    """What cannot be used is as if it were left out."""
    names = [event_type.name for event_type in get_cluster().topology.event_types]
    wanted = request.GET.get("event_type", "")
    zone_name = request.GET.get("tz", "").strip() or "UTC"
    try:
        zone_name = get_zone_name(zone_name)
        get_zone(zone_name)
    except InvalidQuery:
        zone_name = "UTC"
    return Choice(
        event_type=wanted if wanted in names else names[0],
        span=get_span(request.GET.get("period", "")),
        zone_name=zone_name,
        search=request.GET.get("q", "").strip()[:SEARCH_MAX_CHARACTERS],
    )


def _check_target(target: StatsTarget) -> StatsTarget:
    """Raises Http404 for text that no event could have as its id."""
    try:
        for validate in (MaxLengthValidator(ID_MAX_CHARACTERS), *ID_VALIDATORS):
            validate(target.id)
    except ValidationError as error:
        raise Http404(f"no {target.kind} has the id {target.id[:64]!r}") from error
    return target


def _list_top(choice: Choice, *, now: datetime) -> list[tuple[str, str]]:
    period, _ = choice.span.plan(now=now, zone=get_zone(choice.zone_name))
    query = TopQuery(choice.event_type, Function.COUNT, period, ROWS)
    answer = get_top(get_cluster(), query, max_limit=get_config().api.top_max_limit, now=now, cache=find_read_cache())
    return [(item.video_id, item.title or "") for item in answer.items]


def _search_videos(text: str) -> list[tuple[str, str]]:
    found = Video.objects.filter(Q(title__icontains=text) | Q(video_id__startswith=text)).order_by("video_id")[:ROWS]
    return [(video.video_id, video.title) for video in found]


def _make_row(target: StatsTarget, title: str, choice: Choice, *, now: datetime) -> Row:
    sparkline, value, change = describe_row(target, choice, now=now)
    return Row(target.id, title, f"/{target.kind}s/{quote(target.id, safe='')}", sparkline, value, change)


def _list_channel_videos(channel: Channel) -> list[VideoRow]:
    videos = list(Video.objects.filter(channel=channel).order_by("title", "video_id")[:ROWS])
    counts = _count_videos(video.video_id for video in videos)
    return [VideoRow(video.video_id, video.title, counts.get(video.video_id, ())) for video in videos]


def _count_videos(video_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    wanted = list(video_ids)
    if not wanted:
        return {}
    answer = attempt(
        lambda: get_counts_of_videos(
            get_cluster(), video_ids=wanted, max_videos=ROWS, now=datetime.now(UTC), cache=find_read_cache()
        )
    )
    videos = () if answer is None else answer.videos
    return {video.video_id: tuple(map(format_number, video.counts.values())) for video in videos}
