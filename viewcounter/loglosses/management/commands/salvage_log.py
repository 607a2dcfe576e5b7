"""`manage.py salvage_log`: append again what an older log server still holds of lost ranges."""

import getpass
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from django.core.management.base import CommandError, CommandParser

from commandline.command import OperatorCommand, Subject
from runtime.prompts import confirm


class Command(OperatorCommand):
    subject = Subject.CLUSTER
    help = (
        "Append again what an older log server still holds of lost ranges. For the cluster's former log server that "
        "has come back at another address, or a copy of its folder. It is fenced first: no gateway appends to it any "
        "more. Its entries of each loss are appended to the present log under the same event ids, so none is counted "
        "twice. A loss is closed once its entries have been applied. The command may be repeated."
    )
    examples = (
        "manage.py salvage_log --from redis://host7:6379/0 --whole",
        "manage.py salvage_log --from redis://127.0.0.1:7777/0",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="url", required=True, metavar="URL", help="of the older log server")
        parser.add_argument(
            "--password-file", type=Path, metavar="FILE", help="with the password of the older server, if it has one"
        )
        parser.add_argument(
            "--whole",
            action="store_true",
            help="it is the lost server itself with all its data, not a copy: nothing was acknowledged past its end",
        )
        parser.add_argument(
            "--wait",
            type=float,
            default=600.0,
            metavar="SECONDS",
            help="longest wait until the workers have applied the entries (default: 600)",
        )
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, **options: Any) -> None:
        from clusterproxy.errors import ClusterProxyError
        from shardproxy.errors import ShardProxyError
        from viewcounter.config import get_config
        from viewcounter.eventlog.errors import EventLogError
        from viewcounter.eventlog.redis_older_server import OlderServer
        from viewcounter.loglosses.errors import LossesUnconfirmed, SalvageRefused

        try:
            url = _add_password(options["url"], options["password_file"])
        except (OSError, ValueError) as error:
            raise CommandError(f"nothing was changed: {error}") from error
        older = OlderServer(url, timeout_seconds=get_config().log.timeout_seconds)
        try:
            self._salvage(older, options)
        except SalvageRefused as error:
            raise CommandError(f"nothing was changed: {error}") from error
        except (LossesUnconfirmed, EventLogError, ClusterProxyError, ShardProxyError) as error:
            raise CommandError(f"the salvage is not complete, run it again: {error}") from error
        finally:
            older.close()

    def _salvage(self, older: Any, options: dict[str, Any]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from viewcounter.cluster import get_cluster
        from viewcounter.eventlog.registry import get_event_log
        from viewcounter.loglosses import salvage
        from viewcounter.loglosses.losses import iterate_losses
        from viewcounter.storage.log_losses import LossOutcome

        cluster, log = get_cluster(), get_event_log()
        losses = [loss for loss in iterate_losses(cluster, only_open=False) if loss.outcome != LossOutcome.SALVAGED]
        if not losses:
            self.stdout.write("no loss is left to salvage")
            return
        if not options["yes"]:
            confirm("The older server is fenced for good: no gateway appends to it any more. Go on?")
        salvage.fence(older, log, cluster_id=cluster.topology.cluster_id)
        plans = salvage.plan_salvage(losses, older)
        if not plans:
            raise CommandError(f"the server holds no entry of the {len(losses)} losses")
        console = Console(file=self.stderr._out)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("losses read", total=len(plans))
            seen: set[Any] = set()

            def on_progress(plan: salvage.SalvagePlan, count: int) -> None:
                seen.add(plan.loss.key)
                bar.update(task, completed=len(seen), description=f"partition {plan.loss.partition}: {count} entries")

            found = salvage.append_again(plans, older, log, is_whole=options["whole"], on_progress=on_progress)
        self.stdout.write(f"{found.entries} entries of {len(plans)} losses appended again")
        salvage.wait_until_applied(cluster, found.ends, timeout_seconds=options["wait"], clock=time.monotonic)
        left = salvage.close_salvaged(
            cluster,
            plans,
            found,
            actor=f"{getpass.getuser()} (manage.py salvage_log)",
            reason=f"salvaged from {options['url'].rpartition('@')[2]}",
        )
        for loss in left:
            self.stderr.write(
                f"{loss.key} stays open: the server held nothing of it, or what was appended again is lost once more"
            )
        self.stdout.write(f"{len(plans) - len(left)} losses closed")


def _add_password(url: str, file: Path | None) -> str:
    """Raises OSError, and ValueError for something that is no address."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("--from: must be an address like redis://host:6379/0")
    if file is None:
        return url
    user = f"{quote(parts.username or '', safe='')}:{quote(file.read_text().strip(), safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))
