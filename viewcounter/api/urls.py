"""Routes of the REST API. Ids hold no "/", so that each is one segment of an address."""

from django.urls import path

from viewcounter.api.resources.audit import AuditView
from viewcounter.api.resources.catalogue import CatalogueImportView, ChannelView, VideoView
from viewcounter.api.resources.channels import ChannelCountsView
from viewcounter.api.resources.cluster import ClusterHistoryView, ClusterView
from viewcounter.api.resources.conflicts import ConflictsView
from viewcounter.api.resources.dead_letters import (
    BulkReplayView,
    DeadLetterDiscardView,
    DeadLetterReplayView,
    DeadLettersView,
    DeadLetterView,
)
from viewcounter.api.resources.docs import DocsView
from viewcounter.api.resources.health import HealthView, ReadyView
from viewcounter.api.resources.kills import KillsView
from viewcounter.api.resources.metrics import MetricsView
from viewcounter.api.resources.moves import MovesView
from viewcounter.api.resources.partitions import PartitionResumeView, PartitionsView
from viewcounter.api.resources.raw_events import RawEventsView
from viewcounter.api.resources.reads import CountsQueryView, TopView, VideoCountsView
from viewcounter.api.resources.receipts import ReceiptView
from viewcounter.api.resources.recounts import RecountsView, RecountView
from viewcounter.api.resources.schema import SchemaView
from viewcounter.api.resources.stats import ChannelStatsView, VideoStatsView

app_name = "api"

urlpatterns = [
    path("healthz", HealthView.as_view(), name="health"),
    path("readyz", ReadyView.as_view(), name="readiness"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("v1/schema", SchemaView.as_view(), name="schema"),
    path("v1/docs", DocsView.as_view(), name="docs"),
    path("v1/videos/<str:video_id>", VideoView.as_view(), name="video"),
    path("v1/videos/<str:video_id>/counts", VideoCountsView.as_view(), name="video-counts"),
    path("v1/videos/<str:video_id>/stats", VideoStatsView.as_view(), name="video-stats"),
    path("v1/channels/<str:channel_id>", ChannelView.as_view(), name="channel"),
    path("v1/channels/<str:channel_id>/counts", ChannelCountsView.as_view(), name="channel-counts"),
    path("v1/channels/<str:channel_id>/stats", ChannelStatsView.as_view(), name="channel-stats"),
    path("v1/catalogue/import", CatalogueImportView.as_view(), name="catalogue-import"),
    path("v1/conflicts", ConflictsView.as_view(), name="conflicts"),
    path("v1/counts/query", CountsQueryView.as_view(), name="counts-query"),
    path("v1/cluster", ClusterView.as_view(), name="cluster"),
    path("v1/cluster/history", ClusterHistoryView.as_view(), name="cluster-history"),
    path("v1/audit", AuditView.as_view(), name="audit"),
    path("v1/dead-letters", DeadLettersView.as_view(), name="dead-letters"),
    path("v1/dead-letters/replay", BulkReplayView.as_view(), name="dead-letters-replay"),
    path("v1/dead-letters/<str:dead_letter_id>", DeadLetterView.as_view(), name="dead-letter"),
    path("v1/dead-letters/<str:dead_letter_id>/replay", DeadLetterReplayView.as_view(), name="dead-letter-replay"),
    path("v1/dead-letters/<str:dead_letter_id>/discard", DeadLetterDiscardView.as_view(), name="dead-letter-discard"),
    path("v1/partitions/<int:partition>/resume", PartitionResumeView.as_view(), name="partition-resume"),
    path("v1/kills", KillsView.as_view(), name="kills"),
    path("v1/receipts/<str:event_id>", ReceiptView.as_view(), name="receipt"),
    path("v1/recounts", RecountsView.as_view(), name="recounts"),
    path("v1/recounts/<uuid:recount_id>", RecountView.as_view(), name="recount"),
    path("v1/events", RawEventsView.as_view(), name="raw-events"),
    path("v1/moves", MovesView.as_view(), name="moves"),
    path("v1/partitions", PartitionsView.as_view(), name="partitions"),
    path("v1/top", TopView.as_view(), name="top"),
]
