"""What a process loads before it does anything: that is what a command costs, and each process at each start."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHILD_SECONDS = 120
CALCULATION = ("numpy", "datasketches", "celery", "rich")
PAGES = ("rest_framework.views", "drf_spectacular.openapi", "viewcounter.urls", "configservice.admin")
CLIENTS = ("redis", "clusterproxy.proxy", "shardproxy.instance", "prometheus_client")


def find_loaded(code: str, modules: tuple[str, ...]) -> list[str]:
    """Which of them a fresh process has loaded once it has run `code`."""
    output = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, sep='\\n', file=sys.stderr)"],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "viewcounter.settings"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=CHILD_SECONDS,
        check=True,
    ).stderr
    loaded = set(output.splitlines())
    return [module for module in modules if module in loaded]


def test_django_is_set_up_without_pages_calculation_or_clients():
    assert find_loaded("import django; django.setup()", CALCULATION + PAGES + CLIENTS) == []
