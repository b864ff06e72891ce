"""Rows that a kind cannot use, with the reason."""

import pytest

from harness.errors import HarnessError
from harness.kinds import fill_mask, question_answering, text_classification, token_classification


@pytest.mark.parametrize(
    ("kind", "row", "problem"),
    [
        (fill_mask, {"text": "a b c 1234"}, "no word of four letters"),
        (fill_mask, {"text": "four letters"}, ""),
        (token_classification, {"text": ["a", "b"], "label": [0]}, "2 words and 1 labels"),
        (token_classification, {"text": ["a", None], "label": [0, 0]}, "text"),
        (token_classification, {"text": ["a"], "label": [0]}, ""),
        (question_answering, {"text": "x", "label": []}, "it has no answer"),
        (question_answering, {"text": "x", "label": "y"}, "does not contain the answer"),
        (question_answering, {"text": " ", "label": " "}, "its answer is empty"),
        (question_answering, {"text": "x y", "label": {"text": ["y"], "answer_start": [0]}}, "answer_start"),
        (question_answering, {"text": "x y", "label": {"text": ["y"], "answer_start": [2]}}, ""),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_unusable_row_says_why(kind, row, problem):
    message = kind.problem(row, ("text",))
    assert problem in message
    assert bool(problem) == bool(message)


def test_number_is_not_a_text():
    with pytest.raises(HarnessError, match="int"):
        text_classification.encode(None, [{"text": 3}], ("text",), 8)
