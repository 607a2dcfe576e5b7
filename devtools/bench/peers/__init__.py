"""What a team would write first, to be measured beside us: Django and DRF, one PostgreSQL, three ways to count.

Responsible for being good code of its kind, with settings for production and nothing slowed down. A project of its own,
served by gunicorn as a separate process; it knows nothing of the service, and the service never imports it.
"""
