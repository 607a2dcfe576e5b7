"""A common alternative to viewcounter, for comparison: Django and DRF on one PostgreSQL, with three ways to count.

Good code of its kind, with production settings and nothing slowed down. A Django project of its own, served by gunicorn
in a separate process; it never imports the service, and the service never imports it.
"""
