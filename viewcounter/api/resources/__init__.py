"""The REST resources, a module for each: serializer, view and encoder. A view validates its request, calls the package
that owns its subject, and encodes one response.
"""
