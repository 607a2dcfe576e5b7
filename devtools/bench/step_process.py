"""Steps of a benchmark as processes with the settings of the measured cluster; their output is read line by line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from devtools.bench.errors import BenchStepFailed
from devtools.localcluster import LocalCluster
from devtools.localcluster.process import Launch, start
from viewcounter.config.project import PROJECT_ROOT


def run_step(cluster: LocalCluster, *arguments: str) -> Iterator[dict[str, Any]]:
    """The output of `bench_step`, line by line. Raises BenchStepFailed."""
    process = spawn_step(cluster, *arguments)
    try:
        for line in process.stdout or ():
            yield json.loads(line)
        if process.wait() != 0:
            raise BenchStepFailed(f"{' '.join(arguments)} ended with status {process.returncode}")
    finally:
        process.kill()
        process.wait()


def spawn_step(cluster: LocalCluster, *arguments: str) -> "subprocess.Popen[str]":
    """Inherits settings of our environment, such as a larger flush to compare; the cluster's own take precedence."""
    launch = Launch(
        argv=(sys.executable, "manage.py", "bench_step", *arguments),
        cwd=PROJECT_ROOT,
        environment={**os.environ, **cluster.environment, "DJANGO_SETTINGS_MODULE": "viewcounter.settings"},
        death_signal=signal.SIGKILL,
    )
    return start(launch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
