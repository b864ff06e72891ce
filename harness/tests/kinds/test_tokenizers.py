"""Tokenizers of other versions of Transformers: read as they were meant, or refused with what to do."""

import json

import pytest
from test_kinds import wordpieces

from harness.errors import HarnessError
from harness.kinds import text_classification


def saved(folder, **changes):
    """A tokenizer's folder with changes to its tokenizer_config.json; None removes a key."""
    wordpieces().save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    declared = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in declared.items() if value is not None}))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "transformers_version": "5.2.0"}))
    return folder


FIVE = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "is_local": True}


def test_a_tokenizer_of_transformers_5_reads_the_same_tokens(tmp_path):
    tokenizer = text_classification.load_processor(saved(tmp_path, **FIVE))
    assert wordpieces()("Tony lives in London")["input_ids"] == tokenizer("Tony lives in London")["input_ids"]
    tokenizer.save_pretrained(tmp_path / "again")
    again = text_classification.load_processor(tmp_path / "again")
    assert tokenizer("where is he")["input_ids"] == again("where is he")["input_ids"]


def test_a_list_of_further_special_tokens_is_read(tmp_path):
    tokenizer = text_classification.load_processor(saved(tmp_path, **FIVE, extra_special_tokens=["blair"]))
    assert "blair" in tokenizer.all_special_tokens


def test_an_unknown_tokenizer_class_names_the_version_that_wrote_it(tmp_path):
    saved(tmp_path, tokenizer_class="SomethingTokenizer")
    message = r"no usable tokenizer: tokenizer_class 'SomethingTokenizer' is unknown .* saved with 5\.2\.0"
    with pytest.raises(HarnessError, match=message):
        text_classification.load_processor(tmp_path)


def test_a_missing_padding_token_says_how_to_set_one(tmp_path):
    tokenizer = wordpieces()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match=r"no padding token.*tokenizer\.pad_token = tokenizer\.eos_token"):
        text_classification.load_processor(tmp_path)


@pytest.mark.parametrize("kept", ["config.json", "tokenizer_config.json"])
def test_a_folder_without_a_vocabulary_is_refused(tmp_path, kept):
    saved(tmp_path, tokenizer_class="BertTokenizer")
    for file in tmp_path.glob("*token*"):
        if file.name != kept:
            file.unlink()
    with pytest.raises(
        HarnessError, match=r"no usable tokenizer; save one beside the model: .*no (file of one|vocabu)"
    ):
        text_classification.load_processor(tmp_path)
