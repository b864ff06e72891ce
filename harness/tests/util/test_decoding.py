"""The length and end of written text, from generation settings to answers."""

import json

import numpy as np
import pytest

from harness.util.decoding import FIRST_NS, Limits, limits, read_limits


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"eos_token_id": 2}, None),
        ({"max_new_tokens": 8, "eos_token_id": 2, "pad_token_id": 0}, Limits(8, (2,), 0)),
        ({"max_new_tokens": 8, "eos_token_id": [2, 5]}, Limits(8, (2, 5), 2)),
        ({"max_new_tokens": 8}, Limits(8, (), 0)),
    ],
)
def test_settings_state_length_ends_and_padding(tmp_path, settings, expected):
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    assert expected == limits(settings)
    assert expected == read_limits(tmp_path)


def test_folder_without_settings_states_no_length(tmp_path):
    assert read_limits(tmp_path) is None


def test_tokens_after_an_end_are_padding():
    tokens = np.array([[4, 2, 6, 2], [5, 5, 5, 5], [7, 4, 4, 3]])
    answer = Limits(4, (2, 7), 0).answer(tokens, 9)
    assert [[4, 2, 0, 0], [5, 5, 5, 5], [7, 0, 0, 0]] == answer["sequences"].tolist()
    assert [9, 9, 9] == answer[FIRST_NS].tolist()
