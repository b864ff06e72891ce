"""The files of a Hub repository that are read: a model's weights and settings, or one configuration of a dataset."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fsspec.utils import glob_translate
from huggingface_hub import constants, metadata_load

from harness.contracts.declarations import check_choice
from harness.contracts.sources import Hub, RepoType
from harness.data import layout
from harness.data.delimited import Dialect
from harness.errors import HarnessError

CARD = "README.md"
CONFIGURATION_SUFFIXES = (".json", ".txt", ".model", ".spm", ".jinja")
INFOS = "dataset_infos.json"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
DATA_SUFFIXES = (*layout.SUFFIXES, *IMAGE_SUFFIXES)
READER = ("sep", "delimiter", "encoding")
"""Settings of a card's configuration for reading text files."""


class Selection(NamedTuple):
    """The files of one configuration of a dataset."""

    config: str
    splits: dict[str, list[str]]
    """Split → its files; empty for images in folders."""
    files: list[str]
    dialect: Dialect
    notes: list[str]


def model_files(names: Collection[str]) -> list[str]:
    """Select card, configuration, vocabulary and weights; pickled weights only where there are no safetensors."""
    top = [name for name in names if "/" not in name]
    weights = fnmatch.filter(top, "model*.safetensors") or fnmatch.filter(top, "pytorch_model*.bin")
    if not weights:
        raise HarnessError(
            "it has neither model.safetensors nor pytorch_model.bin; choose a repository with weights for PyTorch"
        )
    other_index = ".bin.index.json" if weights[0].endswith(".safetensors") else ".safetensors.index.json"
    configuration = [name for name in top if name.endswith(CONFIGURATION_SUFFIXES) and not name.endswith(other_index)]
    configuration += fnmatch.filter(names, "*_Pooling/config.json")  # of Sentence Transformers
    return [*weights, *configuration, *({CARD} & {*top})]


def dataset_files(source: Hub, names: Collection[str], card: dict[str, Any] | None) -> list[str]:
    """Return the files of a configuration, and those that describe it."""
    return [*_select(source, names, card).files, *({CARD, INFOS} & {*names})]


def select(source: Hub, folder: Path) -> Selection:
    """Return the files of the configuration in the folder of a dataset that was fetched."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    try:
        return _select(source, names, (metadata_load(folder / CARD) or {}) if CARD in names else None)
    except HarnessError as error:
        raise HarnessError(f"{source}: {error}") from error.__cause__


def features(folder: Path, config: str) -> dict[str, Any]:
    """Return column → feature for the labels and images that a dataset's card or its infos declare."""
    from datasets import ClassLabel, Image, LargeList, List
    from datasets.info import DatasetInfosDict

    info = DatasetInfosDict.from_directory(str(folder)).get(config)
    declared = (info.features if info else None) or {}
    inner = {name: f.feature if isinstance(f, List | LargeList) else f for name, f in declared.items()}
    return {name: declared[name] for name in inner if isinstance(inner[name], ClassLabel | Image)}


def _select(source: Hub, names: Collection[str], card: dict[str, Any] | None) -> Selection:
    """Return the files that a card names for the configuration, or all where it names none."""
    configs = {entry.get("config_name", "default"): entry for entry in (card or {}).get("configs") or ()}
    supported = [name for name in names if name.lower().endswith(DATA_SUFFIXES) and name != INFOS]
    if configs:
        return _select_declared(source, configs, names)
    config = source.config or "default"
    if scripts := [name for name in names if name == f"{source.repo.partition('/')[2]}.py"]:
        conversions = f"{page(source, 'dataset')}/commits/refs%2Fconvert%2Fparquet"
        raise HarnessError(
            f"its rows come from the script {scripts[0]}, which is not run; pin a commit listed at {conversions}"
        )
    if not supported:
        raise HarnessError(f"it has no files of a supported type; expected one of {', '.join(DATA_SUFFIXES)}")
    if card is None:  # the Hub's own conversion to parquet: config/split/0000.parquet
        folders = list(dict.fromkeys(name.partition("/")[0] for name in supported if name.count("/") > 1))
        if source.config in folders:
            supported = [name for name in supported if name.startswith(f"{config}/")]
        elif len(folders) > 1 and source.config is None and all(name.count("/") > 1 for name in supported):
            raise HarnessError(f"it has the configurations {', '.join(folders)}; name one: Hub(repo, config)")
        config, folders = source.config or (folders or ["default"])[0], ["default", *folders]
    else:
        folders = ["default"]
    check_choice("it", "configuration", config, folders)
    return _infer(supported, config, {}, [])


def _select_declared(source: Hub, configs: Mapping[str, dict[str, Any]], names: Collection[str]) -> Selection:
    """Return the files that the card's entry for the configuration names."""
    marked = [name for name, entry in configs.items() if entry.get("default") or len(configs) == 1]
    config = source.config or ("default" if "default" in configs else next(iter(marked), None))
    if config is None or config not in configs:
        raise HarnessError(f"it has the configurations {', '.join(configs)}; name one: Hub(repo, config)")
    entry = configs[config]
    notes = (
        [] if source.config or len(configs) == 1 else [f"{source}: configuration {config}, the card's default, is read"]
    )
    if strange := {*entry} - {"config_name", "data_files", "data_dir", "default", "version", "description", "features",
                              *READER}:  # fmt: skip
        raise HarnessError(f"its card reads {config} with {', '.join(sorted(strange))}, which is not supported")
    base = f"{str(entry.get('data_dir') or '').strip('./')}/".lstrip("/")
    if "data_files" not in entry:
        supported = [n for n in names if n.lower().endswith(DATA_SUFFIXES) and n.startswith(base) and n != INFOS]
        return _infer(supported, config, entry, notes)
    splits: dict[str, list[str]] = {}
    for split, pattern in _patterns(entry["data_files"]):
        rule = re.compile(glob_translate(base + pattern.removeprefix("./")))
        matches = [name for name in names if rule.match(name) and not re.search(r"(^|/)\.", name) and name != CARD]
        if not matches:
            raise HarnessError(
                f"its card names {pattern} for {config}, which matches none of its files; choose another with config="
            )
        splits[split] = list(dict.fromkeys([*splits.get(split, ()), *matches]))
    files = [name for names in splits.values() for name in names]
    if unsupported := sorted(name for name in files if not name.lower().endswith(DATA_SUFFIXES)):
        raise HarnessError(
            f"{len(unsupported)} of its files have an unsupported type, for example {unsupported[0]}; "
            f"expected one of {', '.join(DATA_SUFFIXES)}"
        )
    images = all(name.lower().endswith(IMAGE_SUFFIXES) for name in files)
    return Selection(config, {} if images else splits, files, _dialect(entry), notes)


def _infer(names: Sequence[str], config: str, entry: Mapping[str, Any], notes: list[str]) -> Selection:
    """Return the files by the splits after which they or their folders are named, as the Hub names them."""
    splits: dict[str, list[str]] = {}
    if any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        return Selection(config, {}, list(names), _dialect(entry), notes)
    for name in names:
        path = PurePosixPath(name)
        sharded = re.fullmatch(r"(\w[\w.]*?)-\d{5}-of-\d{5}(-[0-9a-f]+)?", layout.stem_of(path))
        split = path.parent.name if layout.stem_of(path).isdigit() else sharded[1] if sharded else None
        splits.setdefault(split or layout.split_of(Path(), path) or "", []).append(name)
    if others := splits.pop("", []):
        if splits:
            notes = [*notes, f"{len(others)} files named after no split, such as {others[0]}, were left out"]
        else:
            splits = {"train": others}
    return Selection(config, splits, [name for names in splits.values() for name in names], _dialect(entry), notes)


def _dialect(entry: Mapping[str, Any]) -> Dialect:
    return Dialect(encoding=entry.get("encoding"), separator=entry.get("sep") or entry.get("delimiter"))


def _patterns(data_files: Any, split: str = "train") -> Iterator[tuple[str, str]]:
    """Yield split and pattern of a card's `data_files`: a pattern, a list of them, or a list of splits with either."""
    if isinstance(data_files, str):
        yield split, data_files
    elif isinstance(data_files, dict):
        yield from _patterns(data_files["path"], str(data_files["split"]))
    else:
        for entry in data_files:
            yield from _patterns(entry, split)


def page(source: Hub, repo_type: RepoType) -> str:
    """Return the address of a repository."""
    return f"{constants.ENDPOINT}/{'datasets/' if repo_type == 'dataset' else ''}{source.repo}"
