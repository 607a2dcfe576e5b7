"""Shared by the commands: installed apps, signal handling, metrics of long-running commands.

Loads neither settings nor models before a command runs, so that `--help` is quick and needs no secret.
"""
