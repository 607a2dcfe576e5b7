"""What a caller may do about an error: markers that every exception which crosses a package carries."""


class Retryable:
    """Nothing is wrong with the request: try again, elsewhere or later."""


class Permanent:
    """The request itself cannot succeed; repeating it changes nothing."""


class CallerOnly(Retryable):
    """It concerns this caller alone, whose time is over: others who wait for the same answer may still get it."""
