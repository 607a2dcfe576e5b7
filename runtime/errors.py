"""Markers of errors that cross packages: what a caller may do about one."""


class Retryable:
    """The request is valid: try again, elsewhere or later."""


class Permanent:
    """The request itself cannot succeed; repeating it changes nothing."""


class CallerOnly(Retryable):
    """The time of this caller alone is over: others that wait for the same answer may still get it."""
