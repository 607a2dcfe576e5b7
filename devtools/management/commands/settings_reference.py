"""`manage.py settings_reference`: print docs/operations/settings.md."""

from typing import Any

from commandline.command import OperatorCommand


class Command(OperatorCommand):
    help = "Print the page docs/operations/settings.md. It has every setting with its default and meaning."
    needs_apps = False

    def handle(self, *args: Any, **options: Any) -> None:
        from devtools.settings_reference import render_settings_reference

        self.stdout.write(render_settings_reference(), ending="")
