#!/usr/bin/env python
"""Entry point of every operator command: `manage.py help` lists them."""

import os
import sys

from commandline.entry import CommandLine, quiet_when_unread
from viewcounter.commands.installed_apps import OTHER_APPS, OWN_APPS


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewcounter.settings")
    script = os.environ.pop("VIEWCOUNTER_SCRIPT", "")
    with quiet_when_unread():
        CommandLine(sys.argv, own_apps=OWN_APPS, other_apps=OTHER_APPS, script=script).execute()


if __name__ == "__main__":
    main()
