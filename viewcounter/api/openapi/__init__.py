"""The OpenAPI document: what drf-spectacular cannot see by itself, examples that work, links."""
