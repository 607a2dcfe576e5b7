"""Finds, describes and starts the commands of `manage.py` and of the scripts in `bin/`.

A command prints its help without loading the code that it runs: its module imports only its arguments, and Django is
set up when the command is executed. Never imports another package of ours; `manage.py` names the apps with commands.
"""
