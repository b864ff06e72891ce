"""How answers are had from a published model, in a few lines of Python for its reader.

In the lines, `processor` is what turns an input into arrays, `{tensors}` the sort of these, `{logits}` the model's
answer to `inputs`, `{labels}` the names of labels by index, and `{cut}` how texts are cut.
"""

from __future__ import annotations

from typing import NamedTuple


class Usage(NamedTuple):
    """Lines of Python."""

    answer: str
    """Defines `answer(…)`."""
    text: bool = True
    """Whether the input is text, which a tokenizer reads."""
    loading: str = ""
    """Further arguments with which the tokenizer is loaded."""


ONE_LABEL = """\
def answer(*texts):  # one text, or the two of a pair
    inputs = processor(*texts{cut}, return_tensors="{tensors}")
    return {labels}[{logits}.argmax(-1).item()]
"""
IMAGE = """\
def answer(image):  # an array of shape (height, width, channels), uint8
    inputs = processor(image, input_data_format="channels_last", return_tensors="{tensors}")
    return {labels}[{logits}.argmax(-1).item()]
"""
WORDS = """\
def answer(words):  # a list of them; of each its label, by its first token
    inputs = processor(words, is_split_into_words=True{cut}, return_tensors="{tensors}")
    likeliest = {logits}[0].argmax(-1).tolist()
    owners = inputs.word_ids()
    places = (owners.index(word) if word in owners else None for word in range(len(words)))
    return [None if place is None else {labels}[likeliest[place]] for place in places]
"""
MASK = """\
def answer(text):  # in which one word is processor.mask_token; the five likeliest for it
    inputs = processor(text{cut}, return_tensors="{tensors}")
    place = inputs.input_ids[0].tolist().index(processor.mask_token_id)
    return [processor.decode([token]).strip() for token in {logits}[0, place].topk(5).indices.tolist()]
"""
QUESTION = """\
def answer(question, context):
    from transformers import pipeline

    ask = pipeline("question-answering", model=model, tokenizer=processor)
    return ask(question=question, context=context)["answer"]
"""
EMBEDDING = """\
def answer(text):  # its vector: the mean over its tokens, of length 1
    inputs = processor(text{cut}, return_tensors="{tensors}")
    vector = model(**inputs).last_hidden_state[0].mean(0)
    return (vector / vector.norm()).tolist()
"""
GENERATED = """\
def answer(text):
    inputs = processor(text{cut}, return_tensors="{tensors}")
    return processor.decode(model.generate(**inputs, do_sample=False)[0], skip_special_tokens=True).strip()
"""
USAGE = {
    "text-classification": Usage(ONE_LABEL),
    "image-classification": Usage(IMAGE, text=False),
    "token-classification": Usage(WORDS, loading=", add_prefix_space=True"),
    "question-answering": Usage(QUESTION),
    "fill-mask": Usage(MASK),
    "feature-extraction": Usage(EMBEDDING),
    "translation": Usage(GENERATED),
    "summarization": Usage(GENERATED),
}
"""By the kind's name."""
