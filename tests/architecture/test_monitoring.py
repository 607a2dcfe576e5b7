"""docker/prometheus fits the product: every expression names metrics and labels that exist, every alert has a runbook
section and a test, and promtool, where it is installed, runs these tests."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from runtime import metrics
from tests.architecture.programs import run_where_found

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker" / "prometheus"
PAGE = "docs/operations/alerts.md"


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


RULES: dict[str, dict[str, Any]] = {
    rule.get("alert") or rule["record"]: rule
    for name in ("recording.rules.yml", "alerts.rules.yml")
    for group in read(name)["groups"]
    for rule in group["rules"]
}
ALERTS = {name: rule for name, rule in RULES.items() if "alert" in rule}
RECORDED = set(RULES) - set(ALERTS)
LABELS = {
    sample: set(metric._labelnames)
    for metric in vars(metrics).values()
    if isinstance(metric, MetricWrapperBase)
    for family in metric.describe()
    for sample in (
        [f"{family.name}_total"]
        if family.type == "counter"
        else [f"{family.name}_{end}" for end in ("bucket", "sum", "count")]
        if family.type == "histogram"
        else [family.name]
    )
}
OF_PROMETHEUS = {"job", "instance", "le"}


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_expression_names_metrics_and_labels_that_exist(name: str):
    expression = RULES[name]["expr"]
    used = set(re.findall(r"viewcounter[_:][\w:]+", expression))
    assert used - set(LABELS) - RECORDED == set()
    assert used or name == "ProcessDown"
    known = OF_PROMETHEUS.union(*(LABELS.get(metric, set()) for metric in used))
    grouped = [label.strip() for labels in re.findall(r"by \(([\w, ]+)\)", expression) for label in labels.split(",")]
    matched = re.findall(r"(\w+)(?:=|!=|=~|!~)\"", expression)
    assert {*grouped, *matched} - known == set()


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_every_alert_has_a_severity_and_a_section_that_quotes_it(name: str):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["runbook"] == f"{PAGE}#{name.lower()}"
    section = (ROOT / PAGE).read_text().split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
    begin = f"After {rule['for']}" if "for" in rule else "At once"
    assert section.strip().startswith(f"{begin}, `{rule['labels']['severity']}`: `{rule['expr']}`.\n")


def test_the_page_has_no_section_without_an_alert():
    assert set(re.findall(r"^## (\w+)$", (ROOT / PAGE).read_text(), re.MULTILINE)) == set(ALERTS)


def test_every_alert_is_tested_silent_and_firing():
    tested = {
        case["name"]: [bool(step["exp_alerts"]) for step in case["alert_rule_test"]]
        for case in read("alerts.test.yml")["tests"]
    }
    assert tested == {name: [False, True] for name in ALERTS}


def test_prometheus_scrapes_every_process_of_the_compose_file_once():
    targets = [
        target.removesuffix(":8000")
        for job in read("prometheus.yml")["scrape_configs"]
        for of_job in job["static_configs"]
        for target in of_job["targets"]
    ]
    services = yaml.safe_load((FOLDER.parent / "compose.yaml").read_text())["services"]
    ours = {name for name, service in services.items() if "build" in service} - {"prepare"}
    assert sorted(targets) == sorted(ours)


def test_promtool_accepts_the_rules_and_every_alert_fires():
    run_where_found("promtool", "check", "rules", *map(str, sorted(FOLDER.glob("*.rules.yml"))))
    run_where_found("promtool", "test", "rules", str(FOLDER / "alerts.test.yml"))


def test_promtool_accepts_the_scrape_configuration(tmp_path: Path):
    key = tmp_path / "key"
    key.touch()
    for rules in FOLDER.glob("*.rules.yml"):
        (tmp_path / rules.name).write_text(rules.read_text())
    config = (FOLDER / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(config.replace("/etc/prometheus/viewcounter.key", str(key)))
    run_where_found("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
