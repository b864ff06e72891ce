"""The mean of word embeddings, in Keras: `Native("models/keras_mean.py:build")`."""

import keras


def build(num_labels: int, vocab_size: int, width: int = 64) -> keras.Model:
    """Return a model of texts, given as ids and mask of shape (batch, words)."""
    ids = keras.Input((None,), dtype="int64", name="input_ids")
    mask = keras.Input((None,), dtype="int64", name="attention_mask")
    weights = keras.ops.expand_dims(keras.ops.cast(mask, "float32"), -1)
    words = keras.layers.Embedding(vocab_size, width)(ids)
    mean = keras.ops.sum(words * weights, axis=1) / keras.ops.sum(weights, axis=1)
    hidden = keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(mean))
    return keras.Model([ids, mask], keras.layers.Dense(num_labels)(hidden))
