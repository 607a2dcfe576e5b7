"""Documents agree with the code: settings, metrics, links, cited names."""

import re
from pathlib import Path

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from devtools.settings_reference import render_settings_reference
from runtime import metrics
from viewcounter.storage.partitions import EXPECTED_SCHEMA_VERSION

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docker").glob("*.md")]
NO_SETTINGS = {"VIEWCOUNTER_ENV_FILE", "VIEWCOUNTER_SECRETS_DIR", "VIEWCOUNTER_SHARD_"}
NO_METRICS = {
    "viewcounter_shardproxy",
    "viewcounter_control",
    "viewcounter_viewer_key",
    "viewcounter_control_database_password",
}


def test_the_settings_page_is_what_the_command_prints():
    assert (ROOT / "docs/operations/settings.md").read_text() == render_settings_reference()


def test_the_expected_schema_version_is_the_newest_migration():
    migrations = sorted(p.stem for p in (ROOT / "viewcounter/storage/migrations").glob("[0-9]*.py"))
    assert migrations[-1] == EXPECTED_SCHEMA_VERSION


def test_readme_fits_its_limit_and_starts_with_the_demo_and_the_tests():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    commands = [line.split("#")[0].strip() for line in lines if line.startswith("bin/")]
    assert commands[:2] == ["bin/demo", "bin/test"]


def test_every_decision_has_its_number_status_summary_and_sections():
    for path in DECISIONS:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]}: "), path.name
        assert re.search(r"^\*\*Status:\*\* (accepted|experimental|superseded by \[\d{4}\])", text, re.M), path.name
        summary = re.search(r"^\*\*Summary:\*\* (.+?)\n\n", text, re.M | re.S)
        assert summary and len(summary[1].splitlines()) <= 2, path.name
        assert re.findall(r"^## (.+)$", text, re.M) == ["Context", "Options", "Decision", "Consequences", "Tests"], (
            path.name
        )


def test_decisions_are_numbered_without_gaps_and_indexed_once():
    listed = re.findall(r"^- \[(\d{4})\]\(([\w-]+\.md)\) \S", (ROOT / "docs/decisions/README.md").read_text(), re.M)
    assert sorted(name for _, name in listed) == [path.name for path in DECISIONS]
    assert all(name.startswith(number) for number, name in listed)
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_every_decision_that_is_cited_exists():
    numbers = {path.name[:4] for path in DECISIONS}
    cited = {
        (str(path.relative_to(ROOT)), number)
        for folder in (
            "viewcounter",
            "configservice",
            "clusterproxy",
            "shardproxy",
            "runtime",
            "devtools",
            "tests",
            "docs",
        )
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sql", ".md")
        for number in re.findall(r"decisions? (\d{4})\b", path.read_text())
    }
    assert {(path, number) for path, number in cited if number not in numbers} == set()


def test_every_link_between_documents_leads_to_a_file_and_heading():
    missing = [
        f"{path.relative_to(ROOT)}: {target}#{anchor}"
        for path in DOCUMENTS
        for target, anchor in re.findall(r"\]\(([\w./-]*)#?([\w-]*)\)", path.read_text())
        if not (page := path.parent / target if target else path).exists()
        or (anchor and anchor not in list_anchors(page.read_text()))
    ]
    assert missing == []


def test_every_path_that_documents_name_exists():
    parents = (ROOT, ROOT / "viewcounter")  # ARCHITECTURE names folders of the service without it
    folders = {path.name for parent in parents for path in parent.iterdir() if path.is_dir()}
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, name in list_names(r"[a-z]+/[\w./-]+")
        if name.split("/")[0] in folders and not name.endswith((".sqlite3", ".lock"))
        if not any((parent / name).exists() for parent in parents)
    ]
    assert missing == []


def test_every_test_that_documents_name_exists():
    tests = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = [(path, name) for path, name in list_names(r"test_\w+")]
    assert [f"{path.relative_to(ROOT)}: {name}" for path, name in named if name not in tests] == []


def test_every_setting_and_metric_that_documents_name_exists():
    settings = set(re.findall(r"^\| `(VIEWCOUNTER_\w+)`", (ROOT / "docs/operations/settings.md").read_text(), re.M))
    metrics = {name.split("{")[0] for name in name_metrics()}
    known = settings | metrics | NO_SETTINGS | NO_METRICS
    named = [
        (path, name)
        for path, text in list_names(r".+")
        for name in re.findall(r"\b(?:VIEWCOUNTER_[A-Z0-9_]+|viewcounter_[a-z_]+)(?![<.])", text)
    ]
    assert [f"{path.relative_to(ROOT)}: {name}" for path, name in named if name not in known] == []


def list_anchors(text):
    """Anchors of the headings, as GitHub generates them."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)}


def list_names(pattern):
    """Texts between backticks in documents that match the pattern as a whole."""
    for path in DOCUMENTS:
        for name in re.findall(rf"`({pattern})`", path.read_text()):
            yield path, name


def test_every_metric_is_documented_with_its_labels_meaning_cause_and_action():
    rows = re.findall(
        r"^\| `(viewcounter_\w+(?:\{[\w,]+\})?)` \|(.+)\|$", (ROOT / "docs/operations/metrics.md").read_text(), re.M
    )
    assert sorted(name for name, _ in rows) == sorted(name_metrics())
    for name, cells in rows:
        texts = [cell.strip() for cell in cells.split(" | ")]
        assert len(texts) == 3 and all(texts), name


def test_every_metric_is_set_somewhere():
    code = "".join(
        path.read_text()
        for package in ("viewcounter", "runtime")
        for path in (ROOT / package).rglob("*.py")
        if path != ROOT / "runtime" / "metrics.py"
    )
    unset = [
        name
        for name, value in vars(metrics).items()
        if isinstance(value, MetricWrapperBase) and not re.search(rf"\b{name}\b", code)
    ]
    assert unset == []


def name_metrics():
    """Metrics as on their page: `name{label,label}`."""
    for metric in {value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)}:
        suffix = "_total" if isinstance(metric, Counter) else ""
        labels = f"{{{','.join(metric._labelnames)}}}" if metric._labelnames else ""
        yield f"{metric.describe()[0].name}{suffix}{labels}"
