"""The modules that a process loads at its start, which is most of the cost of a command."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHILD_SECONDS = 120
CALCULATION = ("numpy", "datasketches", "celery", "rich")
PAGES = ("rest_framework.views", "drf_spectacular.openapi", "viewcounter.urls", "configservice.admin.topology")
CLIENTS = ("redis", "clusterproxy.proxy", "shardproxy.instance", "prometheus_client")
DJANGO = ("django.db.models", "rest_framework", "pydantic", "viewcounter.settings")

PRINT_HELP_OF_ALL = """
from commandline.entry import find_app_commands, load_own_command
from viewcounter.commands.installed_apps import OWN_APPS
for name, app in find_app_commands(OWN_APPS).items():
    load_own_command(app, name).print_help("manage.py", name)
"""
RUN = """
import runpy, sys
sys.argv = ["manage.py", {words}]
try:
    runpy.run_path("manage.py", run_name="__main__")
except SystemExit:
    pass
"""


def find_loaded(code: str, modules: tuple[str, ...], *, state_dir: Path) -> list[str]:
    """Those of the modules that a new process has loaded after running `code`."""
    output = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, sep='\\n', file=sys.stderr)"],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "viewcounter.settings", "VIEWCOUNTER_STATE_DIR": str(state_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=CHILD_SECONDS,
        check=True,
    ).stderr
    loaded = set(output.splitlines())
    return [module for module in modules if module in loaded]


def test_django_is_set_up_without_pages_calculation_or_clients(tmp_path: Path):
    assert find_loaded("import django; django.setup()", CALCULATION + PAGES + CLIENTS, state_dir=tmp_path) == []


def test_beat_loads_neither_django_nor_the_tasks_that_it_sends(tmp_path: Path):
    code = "from viewcounter.celery import app; app.loader.init_worker(); app.finalize(); app.Beat().run"
    heavy = ("numpy", "psycopg", "django.db", "django.apps", "viewcounter.processing.tasks")
    assert find_loaded(f"{code}; import viewcounter.beat", heavy, state_dir=tmp_path) == []


def test_help_of_our_commands_loads_neither_django_s_models_nor_our_work(tmp_path: Path):
    assert (
        find_loaded(PRINT_HELP_OF_ALL, (*CALCULATION, *PAGES, *CLIENTS, *DJANGO, "psycopg"), state_dir=tmp_path) == []
    )


def test_the_list_of_commands_loads_no_application(tmp_path: Path):
    code = RUN.format(words="'help'")
    assert find_loaded(code, (*CALCULATION, *PAGES, *CLIENTS, *DJANGO, "django.contrib.auth"), state_dir=tmp_path) == []


def test_status_of_a_cluster_that_does_not_run_loads_neither_settings_nor_models(tmp_path: Path):
    code = RUN.format(words="'status'")
    assert find_loaded(code, CALCULATION + PAGES + CLIENTS + DJANGO, state_dir=tmp_path) == []
