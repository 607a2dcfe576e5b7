"""Base of commands whose counters belong to the metrics of their host: daemons, and commands that move partitions."""

from commandline.command import OperatorCommand


class CountingCommand(OperatorCommand):
    def prepare_process(self) -> None:
        """Runs before Django is set up, which may import metrics: the first import fixes the folder of their files."""
        from runtime.metric_files import start_process_group
        from viewcounter.config import get_config

        start_process_group(get_config().state_dir / "metrics")
