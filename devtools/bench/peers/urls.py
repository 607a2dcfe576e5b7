"""Three ways to count, by how much of the work is done at once and how sure it is."""

from django.urls import path

from devtools.bench.peers.views import BatchView, CheckedBatchView, EventView, answer_health

urlpatterns = [
    path("healthz", answer_health),
    path("events", EventView.as_view()),
    path("batches", BatchView.as_view()),
    path("checked-batches", CheckedBatchView.as_view()),
]
