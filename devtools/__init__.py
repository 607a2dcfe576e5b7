"""Development tools: a local cluster, benchmarks, fault drills, a replay of real data, the scripts in `bin/`.

Not part of the service: no package of the service imports this one, and neither image nor production host has it.
"""

import sys
from pathlib import Path

# The client library is a distribution of its own; the tools use the one of this source tree, installed or not.
sys.path.append(str(Path(__file__).resolve().parents[1] / "client" / "src"))
