"""Text classification: one label a text, or a pair of texts.

Arrays: `input_ids`, `attention_mask`, … of shape (batch, length), int64.
"""

from harness.contracts.kind import Kind
from harness.kinds import common

text_classification = Kind(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    metrics=("accuracy", "f1", "f1-macro", "off-by-one-accuracy"),
    load_processor=common.load_tokenizer,
    new_processor=common.new_tokenizer,
    encode=common.encode,
    collate=common.collate,
    targets=common.label_targets,
    reduce=common.keep_logits,
    predict=common.predict_label,
    native_arguments=common.native_arguments,
    axes=("batch", "sequence"),
)
