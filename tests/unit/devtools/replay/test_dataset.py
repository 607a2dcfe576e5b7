import gzip
from datetime import date
from pathlib import Path

import pytest

from devtools.replay.dataset import SAMPLE_PATH, get_channel_id, read_dataset
from devtools.replay.errors import BadDataset

HEADER = "video_id,title,channel_title,category_id,views,likes,dislikes,comments,day\n"
GOOD_LINE = 'v1,"A, title",Channel,1,10,2,3,4,2017-09-13\n'


def write_gzip(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_sample_holds_what_its_readme_says():
    dataset = read_dataset()
    assert len(dataset.rows) == 8000
    assert len(dataset.videos()) == 2365
    assert len(dataset.channels()) == 1230
    assert dataset.days()[0] == date(2017, 9, 13)
    assert dataset.days()[-1] == date(2017, 10, 22)
    assert len(dataset.days()) == dataset.day_span == 40


def test_every_video_of_the_sample_belongs_to_a_channel_of_the_sample():
    dataset = read_dataset()
    channels = [channel.channel_id for channel in dataset.channels()]
    assert len(set(channels)) == len(channels)
    assert {video.channel_id for video in dataset.videos()} <= set(channels)


def test_a_video_has_the_title_of_its_last_day():
    dataset = read_dataset()
    last_rows = {row.video_id: row for row in sorted(dataset.rows, key=lambda row: row.day)}
    assert {v.video_id: v.title for v in dataset.videos()} == {i: row.title for i, row in last_rows.items()}


def test_limited_days_are_the_first_ones():
    limited = read_dataset().limit_days(2)
    assert limited.days() == (date(2017, 9, 13), date(2017, 9, 14))


def test_channel_id_depends_on_the_title_alone():
    assert get_channel_id("PewDiePie") == "ch_00addb3f7fa3351b"


def test_rows_come_sorted_whatever_the_order_in_the_file(tmp_path):
    later, earlier = GOOD_LINE.replace("09-13", "09-14"), GOOD_LINE
    dataset = read_dataset(write_gzip(tmp_path / "s.gz", HEADER + later + earlier))
    assert [row.day for row in dataset.rows] == [date(2017, 9, 13), date(2017, 9, 14)]
    assert dataset.rows[0].title == "A, title"
    assert dataset.rows[0].counts == (10, 2, 3, 4)


@pytest.mark.parametrize(
    "text",
    [
        HEADER,
        HEADER + GOOD_LINE.replace("10", "-10"),
        HEADER + GOOD_LINE.replace("10", "many"),
        HEADER + GOOD_LINE.replace("2017-09-13", "yesterday"),
        HEADER + GOOD_LINE.replace("v1", ""),
        HEADER + "v1,title\n",
        GOOD_LINE,
    ],
)
def test_a_file_that_is_not_the_sample_is_refused(tmp_path, text):
    with pytest.raises(BadDataset):
        read_dataset(write_gzip(tmp_path / "s.gz", text))


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "s.gz"
    path.write_bytes(SAMPLE_PATH.read_bytes()[:-1000])
    with pytest.raises(BadDataset):
        read_dataset(path)
