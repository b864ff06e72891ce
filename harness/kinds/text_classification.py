"""Text classification: one label a text, or a pair of texts.

Arrays: `input_ids`, `attention_mask`, … of shape (batch, length), int64.
"""

from harness.contracts.kind import Kind
from harness.kinds import common
from harness.kinds.common import likeliest_label, logits_alone, taught_label

text_classification = Kind(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    metrics=("accuracy", "f1", "f1-macro", "off-by-one-accuracy"),
    processor=common.tokenizer_for,
    load_processor=common.load_tokenizer,
    encode=common.encode,
    collate=common.collate,
    targets=taught_label,
    reduce=logits_alone,
    predict=likeliest_label,
    native_arguments=common.native_arguments,
    axes=("batch", "sequence"),
)
