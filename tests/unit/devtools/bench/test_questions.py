import json
from datetime import UTC, datetime

import pytest

from devtools.bench.questions import list_questions

NOW = datetime(2026, 11, 26, 15, 7, tzinfo=UTC)
FRESH_SECONDS = 1.0
"""An answer that may change is kept so long."""


@pytest.mark.parametrize("question", list_questions(NOW), ids=lambda question: question.name)
def test_fresh_questions_are_no_others_and_none_comes_again_while_its_answer_is_kept(question):
    assert len({*question.fresh}) == len(question.fresh) > question.per_second * FRESH_SECONDS
    if question.is_endless:
        assert not {*question.fresh} & {*question.kept}
        assert len(question.fresh) == 19_800


def test_batches_are_of_500_videos_that_no_other_batch_asks_for():
    question = next(each for each in list_questions(NOW) if each.name == "batch")
    asked = [json.loads(request.body or "")["video_ids"] for request in (*question.kept, *question.fresh)]
    assert {len(videos) for videos in asked} == {500}
    assert len({video for videos in asked for video in videos}) == 500 * len(asked) == 20_000
