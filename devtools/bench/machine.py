"""Description of the machine on which a benchmark ran."""

import os
import platform
import subprocess
from pathlib import Path

import psutil

from devtools.bench.report import Machine
from devtools.localcluster.binaries import find_postgres_dir, find_valkey_server

VERSION_SECONDS = 10.0


def read_machine() -> Machine:
    """Raises ProgramNotFound."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu_model=_read_cpu_model(),
        memory_bytes=psutil.virtual_memory().total,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        postgresql=_ask_version(find_postgres_dir(None) / "postgres"),
        valkey=_ask_version(find_valkey_server(None)),
    )


def _read_cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _ask_version(program: Path) -> str:
    """`postgres (PostgreSQL) 18.1`, `Valkey server v=9.0.1`: the first words are enough."""
    output = subprocess.run(
        [str(program), "--version"], capture_output=True, timeout=VERSION_SECONDS, check=True, text=True
    )
    return " ".join(output.stdout.split()[:3])
