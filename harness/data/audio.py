"""Recordings: every one is read and checked before anything is trained, and given to models at one sampling rate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.media import Medium, examined, row_name
from harness.errors import HarnessError, brief_error
from harness.kinds.audio_classification import Recording, load_recording, open_file, recording_array, resample
from harness.util.console import current
from harness.util.machine import missing_module

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

ENDINGS = frozenset(
    f".{form}"
    for form in ["wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "aiff", "aif", "au", "caf", "m4a", "aac", "wma"]
)
"""Endings of files that hold sound; libsndfile does not read the last three, which a refusal names."""


def _stored() -> Any:
    from datasets import Audio

    return Audio(decode=False)


RECORDINGS = Medium("recording", "audio", lambda: ENDINGS, open_file, _stored)


@cache
def _loaded() -> Any:
    """Return the feature of `datasets` whose values `load_recording` decodes, at its own sampling rate."""
    from datasets import Audio

    class Loaded(Audio):  # type: ignore[misc]
        def decode_example(self, value: dict[str, Any], token_per_repo_id: object = None) -> Any:
            recording = load_recording(value)
            return resample(recording.samples, recording.rate, self.sampling_rate)

    return Loaded


def check(task: Task, split: str, rows: Dataset, column: str, folders: Sequence[Path]) -> tuple[Dataset, list[str]]:
    """Return the rows with a column of recordings at one rate, and notes on what was changed, after reading every one.

    A column of texts names files, relative to the row's folder of `folders`. HarnessError for recordings that cannot be
    read, and for several rates unless the task declares one.
    """
    from datasets import Audio, Value

    feature = rows.features[column]
    if feature in (Value("string"), Value("large_string")):
        rows = _as_paths(rows, column, folders)
    is_file = isinstance(rows.features[column], Audio) or rows.features[column] in (
        Value("string"), Value("binary"), Value("large_binary")
    )  # fmt: skip
    if is_file and (advice := missing_module("soundfile", '"shipbench[audio]"')):
        raise HarnessError(f"task {task.name}: column {column} of {split} holds files of sound, and {advice}")
    files = rows.cast_column(column, _stored()) if is_file else rows
    remarks, problems, rates = defaultdict[str, list[str]](list), list[str](), defaultdict[int, list[str]](list)
    with current().bar(f"reading the recordings of {task.name}, {split}", len(files)) as stage:
        for number, value, result in examined(files, column, _examine):
            stage.update()
            name = row_name(value, number, split, short=True)
            if isinstance(result, str):
                problems.append(f"{row_name(value, number, split)}: {result}")
                continue
            rates[result.rate].append(name)
            for remark in result.remarks:
                remarks[remark].append(name)
    total = f"of {len(files):,} recordings of {split}"
    if problems:
        raise HarnessError(
            f"task {task.name}: {len(problems):,} {total} cannot be used, the first {problems[0]}; repair them, or "
            "leave them out"
        )
    rate = task.rate or _only_rate(task, split, rates)
    for own in sorted({*rates} - {rate, 0}):
        remarks[f"have {own:,} Hz and are resampled to {rate:,} (scipy.signal.resample_poly)"] = rates[own]
    notes = [f"{len(some):,} {total} {remark}; the first is {some[0]}" for remark, some in remarks.items()]
    return (files.cast_column(column, _loaded()(sampling_rate=rate)) if is_file else files), notes


def _as_paths(rows: Dataset, column: str, folders: Sequence[Path]) -> Dataset:
    """Return the rows with paths that begin at the row's folder; absolute ones stay."""
    paths = rows[column][:]
    places = folders or [Path()] * len(paths)
    whole = [str(place / path) for place, path in zip(places, paths, strict=True)]
    names = rows.column_names
    return rows.remove_columns(column).add_column(column, whole).select_columns(names)


def _only_rate(task: Task, split: str, rates: Mapping[int, Sequence[str]]) -> int:
    """Return the sampling rate of all recordings; HarnessError if there are several, or none is known."""
    if 0 in rates:
        raise HarnessError(
            f"task {task.name}: the recordings of {split} are arrays, whose sampling rate nothing says; declare it: "
            "Task(rate=16_000)"
        )
    if len(rates) > 1:
        some = ", ".join(f"{rate:,} Hz ({len(names):,}, the first {names[0]})" for rate, names in rates.items())
        raise HarnessError(
            f"task {task.name}: the recordings of {split} have {len(rates)} sampling rates: {some}; declare the one "
            "that all are to be resampled to: Task(rate=16_000)"
        )
    return next(iter(rates))


def check_fit(owner: str, processor: Any, split: Any, task: Task) -> None:
    """Raise HarnessError unless a Split's recordings have the sampling rate that a model's feature extractor reads."""
    column = task.inputs[0]
    features = {part: getattr(split, part).features[column] for part in split.sizes()}
    rates = Counter(getattr(feature, "sampling_rate", None) or task.rate for feature in features.values())
    own = processor.sampling_rate
    if {*rates} != {own}:
        found = " and ".join(f"{rate:,}" for rate in sorted(filter(None, rates)))
        raise HarnessError(
            f"{owner}: its feature extractor reads {own:,} Hz (sampling_rate), and the recordings have {found}; "
            f"declare Task(rate={own}), to which recordings of another rate are resampled; arrays must have it"
        )


def _examine(value: Any) -> Recording | str:
    """Return the recording without its samples, or what is wrong with it."""
    try:
        if isinstance(value, Mapping):
            return load_recording(value)._replace(samples=None)
        recording_array(value)
        return Recording(None, 0)
    except Exception as error:  # of many kinds
        return _explain(value, error)


def _explain(value: Any, error: Exception) -> str:
    path = Path(value.get("path") or "") if isinstance(value, Mapping) else Path()
    if isinstance(value, Mapping) and value.get("bytes") is None and not path.is_file():
        return "there is no such file"
    if isinstance(value, Mapping) and type(error).__name__ == "LibsndfileError":
        return f"libsndfile does not read it ({str(error).rpartition(': ')[2]}); save it as WAV or FLAC"
    return str(error) if isinstance(error, ValueError) else brief_error(error)
