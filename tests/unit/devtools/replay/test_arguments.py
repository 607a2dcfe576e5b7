import argparse

import pytest

from devtools.replay.arguments import add_replay_arguments, parse_duration
from devtools.replay.errors import BadReplayOption
from devtools.replay.plan import read_replay_options
from viewcounter.config import get_config


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_replay_arguments(parser)
    return read_replay_options(vars(parser.parse_args(arguments)), url="http://u", key="k")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1d", 86400)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1w", "1h "])
def test_other_durations_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_duration(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--batch", "1001"),
        ("--duplicates", "1.1"),
        ("--invalid", "-0.1"),
    ],
)
def test_options_out_of_bounds_are_refused_by_name(arguments):
    with pytest.raises(BadReplayOption, match=arguments[0]):
        parse(*arguments).check(get_config())
