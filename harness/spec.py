"""Declarations of an author: tasks, models, recipes, gates, and their cases. They touch neither torch nor the disk."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from harness.contracts import declarations
from harness.contracts.backend import COMPANIONS, DEVICES, REFERENCE, Backend, Device
from harness.contracts.declarations import check_choice, check_name, check_tuple, explain_arguments, unknown
from harness.contracts.kind import Kind
from harness.contracts.sources import Hub, Native, Rows, Scratch, Source
from harness.errors import HarnessError
from harness.kinds import KINDS
from harness.metrics import METRICS, less_is_better
from harness.metrics.entities import SCHEMES, SYNONYMS

BATCHES = (1, 16)
"""Batch sizes measured by default: latency, which gates judge unless they name another batch, and throughput."""
TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")
"""Trainer's names for them, which are also those of their packages."""
SETTINGS = {"positive": "f1", "order": "off-by-one-accuracy", "scheme": "entity-f1", "tokenize": "bleu"}
"""Arguments of a task that say what a metric is to assume → that metric."""
TOKENIZERS = ("13a", "intl", "zh", "char", "ja-mecab", "ko-mecab", "flores101", "flores200", "none")
CHOICES = {"scheme": (*SCHEMES, *SYNONYMS), "tokenize": TOKENIZERS}


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapter that is trained in the place of a pretrained model's own weights, then merged into them."""

    r: int = 8
    """Rank."""
    alpha: int = 16
    """Scale: what the adapter adds is multiplied by `alpha / r`."""
    dropout: float = 0.05
    """Probability of dropout before the adapter."""
    targets: tuple[str, ...] = ()
    """Layers to adapt, by the end of their names, `"query"` for instance; by default every linear layer of the body."""

    def __post_init__(self) -> None:
        check_tuple("Lora", "targets", self.targets, "('query', 'value')")
        if any(type(n) is not int or n < 1 for n in (self.r, self.alpha)) or not 0 <= self.dropout < 1:
            raise HarnessError(
                f"{self}: r and alpha must be positive whole numbers, dropout at least 0 and less than 1"
            )


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings with which a model is fine-tuned."""

    epochs: int = 1
    """0 uses the model as it is."""
    learning_rate: float = 5e-5
    batch_size: int = 16
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises; it falls linearly afterwards."""
    weight_decay: float = 0.0
    dropout: float | None = None
    """Probability of every dropout while a pretrained model is trained; None keeps the model's own."""
    lora: Lora | None = None
    """Adapter to train instead of all weights of a pretrained model; needs the extra `lora`."""
    seed: int = 0
    rows: int | None = None
    """Number of training rows to use; None uses all."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` trains under autocast; weights stay fp32."""
    loop: Literal["trainer", "native", "keras"] = "trainer"
    """`trainer` is Transformers' Trainer, `native` a plain PyTorch loop, `keras` the `fit` of Keras 3 on PyTorch, which
    needs the extra `keras`. A native module needs one of the last two."""
    keep: Literal["best", "last"] = "best"
    """Epoch whose weights are kept: the first with the best score on validation rows, or the last."""
    trainer: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Further `transformers.TrainingArguments`; only with `loop="trainer"`."""
    report_to: tuple[str, ...] = field(default=(), compare=False)
    """Trackers to which Trainer reports, of `TRACKERS`; only with `loop="trainer"`. It changes no kept checkpoint."""

    def __post_init__(self) -> None:
        for name, choices in {"loop": "trainer native keras", "precision": "fp32 bf16", "keep": "best last"}.items():
            check_choice("Recipe", name, getattr(self, name), choices.split())
        check_tuple("Recipe", "report_to", self.report_to, "('tensorboard',)")
        for tracker in self.report_to:
            check_choice("Recipe", "tracker", tracker, TRACKERS)
        for name in ("trainer", "report_to"):
            if getattr(self, name) and self.loop != "trainer":
                raise HarnessError(f"Recipe: {name}= configures Trainer and needs loop='trainer'")
        if self.lora is not None and (not isinstance(self.lora, Lora) or self.epochs == 0):
            raise HarnessError(f"Recipe: lora={self.lora!r} must be a Lora(…) and needs epochs=1 or more to be trained")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise HarnessError(f"Recipe: dropout={self.dropout} must be at least 0 and less than 1")
        counts = (self.epochs + 1, self.batch_size, 1 if self.rows is None else self.rows)
        if min(counts) < 1 or not 0 < self.learning_rate < math.inf or not 0 <= self.warmup <= 1:
            raise HarnessError(
                f"{self}: batch_size, rows and learning_rate must be positive, epochs not negative, warmup within 0..1"
            )


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Model:
    """A pretrained checkpoint or a native module, and how it is fine-tuned."""

    name: str
    source: Source
    recipe: Recipe = Recipe(epochs=0)
    """By default the model is used as it is."""
    max_length: int = 128
    """Longest text in tokens. Longer texts are cut, or for question answering split into windows."""
    new_tokens: int | None = None
    """Tokens that are written after a prompt, neither more nor less; of translation and summarization the most, where
    None leaves it to the model's generation settings."""
    labels: tuple[str, ...] | Mapping[str, str] = field(default=(), hash=False)
    """The task's names for the labels of a model used as it is, where they differ: all in its order, or a mapping."""

    def __post_init__(self) -> None:
        check_name("model", self.name)
        if self.max_length < 1:
            raise HarnessError(f"model {self.name}: max_length={self.max_length} must be positive")
        if self.new_tokens is not None and self.new_tokens < 1:
            raise HarnessError(f"model {self.name}: new_tokens={self.new_tokens} must be positive")
        if self.is_used_as_is and isinstance(self.source, Native | Scratch):
            raise HarnessError(f"model {self.name}: its weights are random, so it needs a Recipe with epochs")
        if self.labels and not self.is_used_as_is:
            raise HarnessError(f"model {self.name}: labels= is for a model used as it is; omit labels= or recipe=")
        if self.recipe.dropout is not None and isinstance(self.source, Native | Scratch):
            raise HarnessError(
                f"model {self.name}: Recipe(dropout=…) is for pretrained models; set it in the module or the config"
            )
        if self.recipe.lora is not None and isinstance(self.source, Native | Scratch):
            raise HarnessError(f"model {self.name}: Recipe(lora=…) is for pretrained models; leave it out")
        if isinstance(self.source, Native) and self.recipe.loop == "trainer":
            raise HarnessError(f"model {self.name}: a native module trains with Recipe(loop='native') or loop='keras'")

    @property
    def is_used_as_is(self) -> bool:
        """True if nothing is trained: the checkpoint's own head answers."""
        return self.recipe.epochs == 0


class _KindByName:
    """Field that is assigned a kind or its name and holds the kind."""

    def __get__(self, task: Task | None, owner: type) -> Kind:
        if task is None:
            raise AttributeError("kind")  # so that dataclasses finds no default
        return vars(task)["kind"]  # type: ignore[no-any-return]

    def __set__(self, task: Task, kind: Kind | str) -> None:
        resolved = KINDS.get(kind) if isinstance(kind, str) else kind
        if not isinstance(resolved, Kind):
            raise HarnessError(f"task {task.name}: {unknown('kind', kind, (*KINDS, 'a harness.Kind'))}")
        vars(task)["kind"] = resolved


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Task:
    """Dataset, inputs, label and metric: the job of a model."""

    name: str
    kind: _KindByName = _KindByName()
    """Hugging Face's name for the task, `"text-classification"` for instance, or a Kind of your own."""
    dataset: Rows
    inputs: tuple[str, ...]
    """Columns that the model is given; `a.b` is field b of column a."""
    label: str | tuple[str, ...] | None = None
    """Column with the expected answer; None for kinds whose rows contain it, `fill-mask` for instance. For several
    labels a row, a column of lists of their names, or as a tuple one column of 0 and 1 for each label, named so."""
    metric: str
    """The score: gates and verdicts are about this metric."""
    also: tuple[str, ...] = ()
    """Further metrics to report."""
    positive: str | None = None
    """Label whose F1 the metric `f1` is."""
    order: tuple[str, ...] = ()
    """Every label from one end of the scale to the other, for `off-by-one-accuracy`."""
    scheme: str | None = None
    """Scheme of entity tags, for `entity-f1`."""
    tokenize: str | None = None
    """Tokenizer of sacrebleu, for `bleu`."""
    test: int | None = None
    """Number of test rows; None takes the data's own split, or 30 % of the rows where it has none."""
    validation: int | None = None
    """Number of validation rows; None takes the data's own split, or 10 % of the rows where it has none."""
    calibration: int | None = None
    """Number of training rows to hold out for calibration; None takes 10 %, at most 200."""
    split_seed: int = 0
    rate: int | None = None
    """For sound, samples a second that the model is given; files of others are resampled. None takes the files' own."""
    boxes: str | None = None
    """Form of boxes in images: `xywh` (a corner, width and height in pixels, as COCO), `xyxy` (two corners), or `yolo`
    (centre, width and height as shares of the image). None takes the one that the data states, or that alone fits."""
    classes: tuple[str, ...] = ()
    """For masks, the labels that the numbers of pixels from 0 on stand for."""
    ignore: int | None = None
    """For masks, the number of pixels that count for nothing, neither in training nor in scores."""
    batches: tuple[int, ...] = BATCHES
    """Rows per call of each workload that is measured; `--ship-batch-sizes` replaces them for a run."""

    def __post_init__(self) -> None:
        check_name("task", self.name)
        declarations.check_rate(f"task {self.name}", self.kind.name, self.kind.media, self.rate)
        declarations.check_regions(f"task {self.name}", self.kind.label, self.boxes, self.classes, self.ignore)
        declarations.check_batches(f"task {self.name}: batches", self.batches)
        check_tuple(f"task {self.name}", "inputs", self.inputs, "('text',)")
        check_tuple(f"task {self.name}", "also", self.also, "('f1',)")
        self._check_columns()
        for part in ("test", "validation", "calibration"):
            size = getattr(self, part)
            if size is not None and size < 1:
                raise HarnessError(f"task {self.name}: {part}={size} must be positive; leave it out for the default")
        for metric in self.metrics:
            check_choice(f"task {self.name}", f"{self.kind.name} metric", metric, self.kind.metrics)
        for metric in self.kind.metrics:
            check_choice(f"kind {self.kind.name}", "metric", metric, METRICS)
        self._check_settings()

    def _check_settings(self) -> None:
        check_tuple(f"task {self.name}", "order", self.order, "('bad', 'fair', 'good')")
        if len({*self.order}) < len(self.order):
            raise HarnessError(f"task {self.name}: order={self.order!r} names a label twice; name each once")
        for name, metric in SETTINGS.items():
            value = getattr(self, name)
            if value in (None, ()):
                continue
            if not isinstance(value, str | tuple):
                raise HarnessError(f"task {self.name}: {name}={value!r} must be a string, as in {name}={str(value)!r}")
            if name in CHOICES:
                check_choice(f"task {self.name}", name, value, CHOICES[name])
            if metric not in self.metrics:
                raise HarnessError(f"task {self.name}: {name}= is for the metric {metric}; name it in metric= or also=")

    def _check_columns(self) -> None:
        if not self.inputs:
            raise HarnessError(f"task {self.name}: inputs=() must name a column")
        if self.kind.most_inputs is not None and len(self.inputs) > self.kind.most_inputs:
            raise HarnessError(
                f"task {self.name}: inputs= names {len(self.inputs)} columns ({', '.join(self.inputs)}); "
                f"{self.kind.name} reads at most {self.kind.most_inputs}: leave the others out, or join them beforehand"
            )
        if "label" in self.inputs:
            raise HarnessError(f"task {self.name}: an input cannot be called 'label'; rename the column in read()")
        if self.label is None and self.kind.label != "none":
            raise HarnessError(f"task {self.name}: {self.kind.name} needs label=, the column with the expected answer")
        if self.label is not None and self.kind.label == "none":
            raise HarnessError(f"task {self.name}: {self.kind.name} takes no label=, because its rows hold the answer")
        if not isinstance(self.label, str | None):
            self._check_label_columns()

    def _check_label_columns(self) -> None:
        """Raise HarnessError unless `label` names a column for each of several labels, and the kind reads such."""
        check_tuple(f"task {self.name}", "label", self.label, "('urgent', 'angry')")
        if self.kind.label != "many":
            kinds = ", ".join(kind.name for kind in KINDS.values() if kind.label == "many")
            raise HarnessError(
                f"task {self.name}: label= names several columns, and {self.kind.name} reads one; name that one, or "
                f"choose {kinds} for rows with several labels"
            )
        if len({*self.label_columns}) < max(2, len(self.label_columns)) or {*self.label_columns} & {*self.inputs}:
            raise HarnessError(
                f"task {self.name}: label={self.label!r} must name at least two columns, each once, that are no inputs"
            )

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns with the expected answer: none, one, or one for each label."""
        return self.label if isinstance(self.label, tuple) else (self.label,) if self.label else ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The task's metric, then the further ones."""
        return tuple(dict.fromkeys((self.metric, *self.also)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        return (*self.inputs, *self.label_columns)


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Gate:
    """Limits that a suite sets for a model on every backend; a broken gate fails the test."""

    min_score: float | None = None
    """Smallest score on the test rows; None for a metric of which less is better."""
    max_drop: float
    """Largest drop in score against the reference on the same rows, in the metric's unit."""
    min_speedup: float | None = None
    """Smallest speed-up against the reference; None requires none."""
    max_score: float | None = None
    """Largest score on the test rows, in the place of `min_score` for a metric of which less is better, as `mae`."""
    batch: int = 1
    """Rows per call at which speed is judged: 1 judges latency, more judge throughput."""

    def __post_init__(self) -> None:
        if (self.min_score is None) == (self.max_score is None):
            raise HarnessError(
                f"{self}: give either min_score, or max_score if less of the metric is better, as of mae"
            )
        if self.min_score is not None and (not 0 <= self.min_score <= 1 or not 0 <= self.max_drop < 1):
            raise HarnessError(f"{self}: scores run from 0 to 1; 0.94 is 94 %, and a drop of 0.01 is one point")
        if self.max_score is not None and not (0 <= self.max_score < math.inf and 0 <= self.max_drop < math.inf):
            raise HarnessError(f"{self}: max_score and max_drop are in the metric's unit, and must not be negative")
        if self.min_speedup is not None and not 0 < self.min_speedup < math.inf:
            raise HarnessError(f"{self}: min_speedup is a ratio; 1.5 is 1.5 times as fast as the reference")
        declarations.check_batches("Gate: batch", (self.batch,))

    @property
    def score_limit(self) -> float:
        """The limit of the score: `min_score`, or `max_score` in its place."""
        limit = self.min_score if self.max_score is None else self.max_score
        assert limit is not None
        return limit

    @property
    def limit(self) -> str:
        """The limit of the score, as it is declared."""
        return f"{'min_score' if self.max_score is None else 'max_score'}={self.score_limit:g}"

    def admits(self, score: float) -> bool:
        """Return whether a score is within the limit."""
        return score >= self.score_limit if self.max_score is None else score <= self.score_limit


@dataclass(frozen=True, kw_only=True)
class Case:
    """Task x model x backend x device: the identity of a result."""

    task: Task
    model: Model
    backend: Backend
    device: Device
    gate: Gate | None = None
    """The model's gate; `cases()` takes it from a mapping of models to gates."""
    on_request: bool = False
    """True if it runs only where `--ship-backends` names its backend."""

    def __post_init__(self) -> None:
        kind, new_tokens = self.task.kind, self.model.new_tokens
        if kind.continues and new_tokens is None:
            raise HarnessError(
                f"model {self.model.name}: {kind.name} needs new_tokens=, the number of tokens to write after a prompt"
            )
        if kind.tokens is None and new_tokens is not None:
            raise HarnessError(f"model {self.model.name}: new_tokens={new_tokens}: {kind.name} writes no text; omit it")
        if self.gate is not None and (self.gate.max_score is not None) != less_is_better(self.task.metric):
            limit, sense = ("max_score", "less") if less_is_better(self.task.metric) else ("min_score", "more")
            raise HarnessError(
                f"task {self.task.name}, model {self.model.name}: {sense} of the metric {self.task.metric} is better, "
                f"so {self.gate.limit} makes no sense; declare Gate({limit}=…, max_drop={self.gate.max_drop:g})"
            )

    def __str__(self) -> str:
        return f"{self.task.name}/{self.model.name}.{self.backend.name}.{self.device}"

    def batches(self, chosen: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the batch sizes that a run measures, the judged one first; `chosen` replaces those of the task.

        HarnessError if the gate's is none of them. Without a gate the smallest is judged.
        """
        sizes = chosen or self.task.batches
        judged = self.gate.batch if self.gate else sizes[0]
        if judged not in sizes:
            listed = ",".join(map(str, sorted({judged, *sizes})))
            raise HarnessError(
                f"{self}: its gate judges speed at batch {judged}, and this run measures {', '.join(map(str, sizes))}; "
                f"run with --ship-batch-sizes {listed}, or declare Task(batches=({listed.replace(',', ', ')},))"
            )
        return (judged, *(size for size in sizes if size != judged))

    @property
    def reads_hub(self) -> bool:
        """True if its rows or its model come from the Hugging Face Hub."""
        return isinstance(self.task.dataset, Hub) or isinstance(self.model.source, Hub)


def cases(
    task: Task, models: Mapping[Model, Gate] | Iterable[Model], backends: Sequence[Backend] | None = None
) -> list[Case]:
    """Return every case of a suite, CUDA ones included.

    `backends` defaults to `DEFAULT_BACKENDS`, with `MORE_BACKENDS` on request. A mapping from models to gates makes
    gates known early: one that the test rows cannot prove is refused, and rounds go on until a speed-up is decided.
    """
    from harness.backends import DEFAULT_BACKENDS, MORE_BACKENDS, PYTORCH

    on_request = MORE_BACKENDS if backends is None else ()
    chosen = (*DEFAULT_BACKENDS, *MORE_BACKENDS) if backends is None else tuple(backends)
    _check_backend_names(chosen, PYTORCH)
    gates = models.items() if isinstance(models, Mapping) else [(model, None) for model in models]
    suite = [
        Case(task=task, model=model, backend=backend, device=device, gate=gate, on_request=backend in on_request)
        for model, gate in gates
        for device in DEVICES
        for backend in chosen
        if device in backend.devices
    ]
    if not suite:
        lacking = "models" if not gates else "backends"
        raise HarnessError(f"task {task.name}: cases() has no {lacking}, so nothing is measured; name one at least")
    for name, count in Counter(map(str, suite)).items():
        if count > 1:
            raise HarnessError(f"task {task.name}: two cases share a name ({name}); rename a model or a backend")
    return suite


def _check_backend_names(backends: Iterable[Backend], reference: Backend) -> None:
    """Raise HarnessError where two backends, or backends that others are built from, share a name and differ."""
    by_name: dict[str, Backend] = {}
    for backend in backends:
        link: Backend | None = backend
        while link is not None:
            if link.name in (REFERENCE, *COMPANIONS) and link is not reference:
                raise HarnessError(f"backend {link.name!r}: this name is reserved for the reference; choose another")
            # Where a backend may run changes no artifact.
            bare = replace(link, source=None, devices=DEVICES, unavailable=None)
            if by_name.setdefault(link.name, bare) != bare:
                raise HarnessError(f"backend {link.name!r}: two different backends share this name; rename one")
            link = link.source
