"""The version of this package, as the service sees it."""

VERSION = "0.1.0"
