"""`manage.py prepare_local`: `prepare` for the local cluster; run at each of its starts."""

from typing import Any

from viewcounter.controlplane.management.commands.prepare import Command as Prepare


class Command(Prepare):
    subject = None
    help = "Prepare the local cluster and create its API keys. The keys are stored in the state folder."

    def handle(self, **options: Any) -> None:
        from datetime import UTC, datetime

        from devtools.local.keys import ensure_local_keys
        from viewcounter.config import get_config

        super().handle(**options)
        ensure_local_keys(get_config().state_dir, now=datetime.now(UTC))
