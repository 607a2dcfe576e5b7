"""Three ways to count: single events, batches, and batches with de-duplication."""

from django.urls import path

from devtools.bench.peers.views import BatchView, CheckedBatchView, EventView, answer_health

urlpatterns = [
    path("healthz", answer_health),
    path("events", EventView.as_view()),
    path("batches", BatchView.as_view()),
    path("checked-batches", CheckedBatchView.as_view()),
]
