"""What `manage.py` and the scripts in `bin/` have in common: how our commands are found, described and started.

A command says what it can do without loading what it does it with: its module imports nothing but the arguments, and
Django is set up when it is carried out. Knows none of our packages; `manage.py` names those that have commands.
"""
