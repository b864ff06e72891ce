"""A pretrained model and the task it is to do; each part is read when a check first needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import checkpoint
from harness.contracts.kind import omit
from harness.contracts.vetting import offline
from harness.data import splits
from harness.training import untrained
from harness.util.forward import ignored_names

if TYPE_CHECKING:
    from harness.contracts.kind import Arrays
    from harness.spec import Model, Task

from harness.training.scan import Scan


@dataclass(frozen=True)
class Fit:
    """A pretrained model for a task; its parts are read when a check first needs them."""

    task: Task
    model: Model
    folder: Path
    """The suite's."""
    pretrained: Path

    @cached_property
    def declared(self) -> dict[str, Any]:
        """Contents of config.json."""
        return checkpoint.read_json(self.pretrained / "config.json")  # type: ignore[no-any-return]

    @cached_property
    @offline()
    def config(self) -> Any:
        """The config.json as Transformers reads it."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.pretrained, trust_remote_code=False)

    @cached_property
    def processor(self) -> Any:
        """The tokenizer or image processor."""
        kind, processor = self.task.kind, self.task.kind.load_processor(self.pretrained)
        if kind.prepare is not None:
            kind.prepare(processor, self.split.labels, self.model.labels)
        return processor

    @cached_property
    def loaded(self) -> tuple[Any, dict[str, Any]]:
        """The model, and how its weights fitted."""
        import transformers

        model, info = untrained.read_model(getattr(transformers, self.task.kind.auto_class), self.pretrained)
        if self.task.kind.tokens is not None or self.task.kind.is_causal:
            untrained.state_length(model, self.processor, self.model.new_tokens)
        return model, info

    @cached_property
    def split(self) -> splits.Split:
        """The rows."""
        return splits.load(self.task, self.folder)

    @cached_property
    def scan(self) -> Scan | None:
        """The rows as tokens; None for rows that are no text."""
        if not hasattr(self.processor, "all_special_ids"):
            return None
        return Scan(self.task, self.model, self.split, self.loaded[0], self.processor)

    def answer(self, rows: list[Any]) -> Arrays:
        """Return what the kind keeps of the model's answers to rows in one batch; two tokens of a generated text."""
        kind, model = self.task.kind, copy(self.loaded[0])
        if checkpoint.generates(model):
            model.generate = partial(model.generate, max_new_tokens=2, min_new_tokens=0, min_length=0)
        examples = kind.encode(self.processor, rows, self.task.inputs, self.model.max_length)
        batch = kind.collate(self.processor, [example for entries in examples for example in entries])
        given = omit(batch, kind.reduce_inputs)
        ignored_names(str(self.pretrained), model, list(given))
        outputs = checkpoint.make_run(model, "cpu")(given)
        return kind.reduce(batch, outputs) if kind.reduce else outputs

    @cached_property
    def trial(self) -> list[Any]:
        """The shortest and the longest of the first test rows."""
        rows = [self.split.test[number] for number in range(min(len(self.split.test), 20))]
        examples = self.task.kind.encode(self.processor, rows, self.task.inputs, self.model.max_length)
        lengths = [len(entries[0].get("input_ids", ())) for entries in examples]
        return [rows[lengths.index(min(lengths))], rows[lengths.index(max(lengths))]]


Check = Callable[[Fit], Iterator[str]]
"""Yields problems, or notes."""
