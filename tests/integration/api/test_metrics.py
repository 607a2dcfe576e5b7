"""GET /metrics: for keys with the scope admin, in a text that Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import LOG_ENTRIES_TRIMMED
from tests.integration.api.conftest import Api


def test_an_admin_key_gets_every_metric(api: Api):
    LOG_ENTRIES_TRIMMED.inc(5)
    response = api.call("GET", "/metrics", scope="admin", headers={"Accept": "text/plain;version=0.0.4"})
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {f.name: f for f in text_string_to_metric_families(response.content.decode())}
    assert families["viewcounter_log_entries_trimmed"].type == "counter"
    assert families["viewcounter_log_entries_trimmed"].samples[0].value >= 5
    assert families["viewcounter_append_seconds"].type == "histogram"


def test_nobody_else_gets_any(api: Api):
    assert api.call("GET", "/metrics", scope="stats:read").json()["code"] == "missing_scope"
    assert api.call("GET", "/metrics", scope="events:write").status_code == 403
    assert api.call("GET", "/metrics", scope=None).status_code == 401
