"""Text classification: one label a text, or a pair of texts.

Arrays: `input_ids`, `attention_mask`, … of shape (batch, length), int64.
"""

from harness.kind import Kind
from harness.kinds import tokens
from harness.kinds.labels import likeliest_label, logits_alone, taught_label

text_classification = Kind(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    metrics=("accuracy", "f1", "f1-macro", "off-by-one-accuracy"),
    processor=tokens.processor,
    load_processor=tokens.load_tokenizer,
    encode=tokens.encode,
    collate=tokens.collate,
    targets=taught_label,
    reduce=logits_alone,
    predict=likeliest_label,
    native_arguments=tokens.native_arguments,
    axes=("batch", "sequence"),
)
