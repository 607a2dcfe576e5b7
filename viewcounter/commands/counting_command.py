"""Commands that run for good, or move partitions: what they count belongs to the metrics of their host."""

from commandline.command import OperatorCommand


class CountingCommand(OperatorCommand):
    def prepare_process(self) -> None:
        """Before Django is set up, which may import metrics: the first import decides where they are kept."""
        from runtime.metric_files import start_process_group
        from viewcounter.config import get_config

        start_process_group(get_config().state_dir / "metrics")
