"""Limits on the size of modules and functions, and names defined once."""

import ast
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "viewcounter",
    "clusterproxy",
    "shardproxy",
    "configservice",
    "devtools",
    "runtime",
    "commandline",
    "client/src",
)
MODULE_MAX_LINES = 400
FUNCTION_MAX_LINES = 70
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "manager"}


@cache
def parse(path):
    return ast.parse(path.read_text())


def get_modules():
    return [p for package in PACKAGES for p in (ROOT / package).rglob("*.py") if "migrations" not in p.parts]


def test_no_module_is_longer_than_one_sitting():
    long = {
        str(p.relative_to(ROOT)): n for p in get_modules() if (n := len(p.read_text().splitlines())) > MODULE_MAX_LINES
    }
    assert long == {}


def test_no_function_is_longer_than_one_screen():
    long = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in get_modules()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > FUNCTION_MAX_LINES
    ]
    assert long == []


def test_no_module_is_named_after_nothing():
    assert [str(p) for p in get_modules() if p.stem in FORBIDDEN_NAMES] == []


DEFINED_TWICE = {"Shard", "Instance", "EventType"}
"""In the topology that processes hold, and in the control tables that it is built from."""


def test_a_public_class_name_is_defined_once():
    names = Counter(
        node.name
        for path in get_modules()
        if "management" not in path.parts and "client" not in path.parts
        for node in parse(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in names.items() if count > 1} == DEFINED_TWICE


def test_every_package_says_what_it_is_responsible_for():
    packages = [p for p in get_modules() if p.name == "__init__.py" and "management" not in p.parts]
    assert [str(p.relative_to(ROOT)) for p in packages if not ast.get_docstring(parse(p))] == []


def test_drivers_stay_behind_their_seams():
    allowed = {
        "psycopg": ("shardproxy/", "configservice/", "viewcounter/storage/", "devtools/", "clusterproxy/"),
        "redis": ("runtime/valkey.py", "viewcounter/eventlog/redis_", "devtools/localcluster/"),
        "celery": (
            "viewcounter/beat.py",
            "viewcounter/celery.py",
            "viewcounter/processing/tasks.py",
            "viewcounter/maintenance/tasks.py",
        ),
        # the application that is measured beside ours is a project of its own, which is written in DRF on purpose
        "rest_framework": ("viewcounter/api/", "devtools/bench/peers/"),
    }
    strays = []
    for path in get_modules():
        place = str(path.relative_to(ROOT))
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                root = name.split(".")[0]
                if root in allowed and not place.startswith(allowed[root]):
                    strays.append(f"{place} imports {root}")
    assert strays == []


THREADS_OF_THEIR_OWN = {
    "runtime/periodic.py",
    "runtime/http/metrics_server.py",  # serves until it is shut down
    "configservice/join/inspection.py",  # one resolution of a name, which cannot be given a time limit
}


def test_every_background_thread_of_the_service_is_a_periodic_task():
    made = {
        str(path.relative_to(ROOT))
        for path in get_modules()
        if path.relative_to(ROOT).parts[0] not in {"devtools", "client"}
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"threading.Thread", "Thread"}
    }
    assert made == THREADS_OF_THEIR_OWN
