"""Parameters of the OpenAPI document that several operations share."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from viewcounter.api.openapi.patterns import ID_PATTERN
from viewcounter.catalogue.limits import ID_MAX_CHARACTERS
from viewcounter.queries.calendars import WeekStart
from viewcounter.queries.comparing import Compare
from viewcounter.queries.functions import Function
from viewcounter.queries.periods import Fill
from viewcounter.queries.ranges import Interval
from viewcounter.queries.sketched import SketchFunction

_ID = {"type": "string", "minLength": 1, "maxLength": ID_MAX_CHARACTERS, "pattern": ID_PATTERN}

VIDEO_ID = OpenApiParameter("video_id", _ID, OpenApiParameter.PATH)
CHANNEL_ID = OpenApiParameter("channel_id", _ID, OpenApiParameter.PATH)
EVENT_TYPE = OpenApiParameter(
    "event_type",
    {"type": "string", "minLength": 1},
    required=True,
    description="view, like, dislike, comment, share, watch_time, or a type that an admin has added.",
)
FUNCTION = OpenApiParameter("function", {"type": "string", "enum": list(Function), "default": Function.COUNT.value})
STATS_FUNCTION = OpenApiParameter(
    "function",
    {"type": "string", "enum": [*Function, *SketchFunction], "default": Function.COUNT.value},
    description=(
        "`unique_viewers`: how many different `viewer_id`s; events without one do not count. `p50` to `p99`: the "
        "least value that 50 to 99 percent of the values do not exceed, for types that have values. These five are "
        "estimates whose error `meta.approximate` states; small ones are exact. The others are always exact."
    ),
)
START_TIME = OpenApiParameter("start_time", OpenApiTypes.DATETIME, description="Inclusive. Left out: from the start.")
END_TIME = OpenApiParameter("end_time", OpenApiTypes.DATETIME, description="Exclusive. Left out: without an end.")
INTERVAL = OpenApiParameter(
    "interval",
    {"type": "string", "enum": list(Interval)},
    description=(
        "Adds a series; needs both times. At most 1,500 buckets at once. Quarters and years begin in January. A bucket "
        "that the period covers in part has the value of that part. Buckets of 15 minutes or more are kept for ever; "
        "for days of an earlier release whose parts are not, the code is `not_available`."
    ),
)
TIME_ZONE = OpenApiParameter(
    "tz",
    {"type": "string", "default": "UTC"},
    description=(
        "Zone whose clock and calendar cut the series and say what `compare` compares with: a name of the IANA "
        "database in any case, for example Europe/Berlin, or an offset from UTC, for example +05:30 (write + as %2B in "
        "a URL). A day is as long as it is there (23 to 25 hours when clocks change); an hour that clocks repeat is "
        "two buckets with different offsets, one that they skip is none."
    ),
)
WEEK_START = OpenApiParameter(
    "week_start",
    {"type": "string", "enum": list(WeekStart), "default": WeekStart.MONDAY.value},
    description="The day on which the buckets of `interval=week` begin.",
)
COMPARE = OpenApiParameter(
    "compare",
    {"type": "string", "enum": list(Compare)},
    description=(
        "Adds an earlier period, the difference and the ratio. Needs both times. `previous`: the period that ends "
        "where this one begins, by the calendar of `tz`: as many months (July: June), or with `interval=week` and for "
        "other whole days as many days, whatever their hours; else the same length. `year`: the same months, days or "
        "times on the clock a year earlier; 28 February for 29 February."
    ),
)
FILL = OpenApiParameter(
    "fill",
    {"type": "string", "enum": list(Fill), "default": Fill.NONE.value},
    description="`none`: only buckets in which something happened. `zero`: every bucket of the period.",
)
