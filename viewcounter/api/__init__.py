"""The REST API, but for `POST /v1/events`: authentication, validation, responses and the OpenAPI document.

A view validates a request, calls the package that owns its subject, and encodes one response. Never executes a
statement on a shard. Django REST framework serves everything; `fast` serves counts in front of it.
"""
