"""The cluster in Django's admin: a module for each page. Importing this registers them all."""

from configservice.admin import topology

__all__ = ["topology"]
