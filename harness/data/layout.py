"""Assign the files of a folder to splits, by place and exact name: every file counts, is noted, or is refused.

No word within a name chooses a file.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from harness.errors import HarnessError, name_some

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".ndjson")
PACKED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
NO_ROWS = re.compile(
    r"(readme|licen[cs]e|notice|citation|changelog|contributing|authors|makefile|dockerfile|datasheet)\b.*"
    r"|dataset_infos?\.json|dataset_dict\.json|.*\.(md|rst|py|pyc|ipynb|pdf|ya?ml|toml|ini|cfg|sh|log|bib|lock|md5|sha256)",
    re.IGNORECASE,
)
"""Names of files that describe rows and hold none."""
NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
"""Word that is the whole name of a file or folder → its split."""
NUMBERED = re.compile(r"(?P<word>[a-z]+)(?P<shard>[-_.]?(?P<at>\d+)(-of-(?P<of>\d+)(-[0-9a-f]{8,})?)?)?", re.IGNORECASE)
POINTER = b"version https://git-lfs.github.com/spec/"


def suffix_of(path: PurePath) -> str:
    """Return the ending that tells the format, in lower case and without that of a packed file."""
    packed = path.suffix.lower() in PACKED
    return (PurePath(path.stem) if packed else path).suffix.lower()


def stem_of(path: PurePath) -> str:
    """Return the name without the ending of its format."""
    return PurePath(path.stem).stem if path.suffix.lower() in PACKED else path.stem


def check_pointer(path: Path) -> None:
    """Raise HarnessError for a file that only points to its content in Git LFS."""
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise HarnessError(f"{path} is a pointer of Git LFS, not the file itself; run: git lfs pull")


def list_files(path: Path) -> tuple[list[Path], list[str]]:
    """Return the visible files of a folder that may hold rows, sorted, and notes; HarnessError for links to nothing."""
    files, hidden, others = list[Path](), list[str](), list[Path]()
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        if (name := str(file).encode(errors="backslashreplace").decode()) != str(file):
            raise HarnessError(f"{name}: this name is not UTF-8; rename the file or its folder")
        if any(part.startswith(".") for part in relative.parts):
            hidden += [relative.as_posix()] if suffix_of(file) in SUFFIXES else []
        elif not file.exists() or (file.is_symlink() and file.is_dir()) or not os.access(file, os.R_OK):
            problem = "cannot be read" if file.exists() and not file.is_symlink() else "is a link that is not followed"
            raise HarnessError(f"{file} {problem}; put the files themselves there, or remove it")
        elif file.is_file():
            (others if NO_ROWS.fullmatch(file.name) else files).append(file)
    names = [file.relative_to(path).as_posix() for file in others]
    left = ((hidden, "hidden"), (names, "named as files without rows"))
    return files, [f"{path}: {_count(names, 'file')} {why}, left out" for names, why in left if names]


def split_files(path: Path, files: Sequence[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """Return split → files of a folder, and notes. Without files named after splits, all are the one split `train`.

    HarnessError for files that hold no table, and for names that leave open which rows are meant.
    """
    relative = [file.relative_to(path) for file in files]
    if strange := [file.as_posix() for file in relative if suffix_of(file) not in SUFFIXES]:
        raise HarnessError(
            f"{path}: {_count(strange, 'file')} of {len(files)} of an unknown type; expected {', '.join(SUFFIXES)}; "
            "convert them, or move them out of the folder"
        )
    _check_twins(path, relative)
    splits: dict[str, list[Path]] = {}
    for file in relative:
        splits.setdefault(split_of(path, file) or "", []).append(path / file)
    others = [file.relative_to(path).as_posix() for file in splits.get("", ())]
    if others and len(splits) > 1:
        named = [file.as_posix() for file in relative if file.as_posix() not in others]
        raise HarnessError(
            f"{path}: {_count(named, 'file')} named after a split, and {_count(others, 'file')} not; name all after "
            "train, validation or test, or name none so, or move the others out of the folder"
        )
    words = {NAMES[word] for name in others for word in re.split(r"[^a-z]+", name.lower()) if word in NAMES}
    if len(words) > 1 and "train" in words:
        raise HarnessError(
            f"{path}: {_count(others, 'file')} have {' and '.join(sorted(words))} within their names; name them "
            "exactly so, as train.csv, or without these words if all are one table"
        )
    if others:
        return {"train": splits[""]}, [f"{path}: {_count(others, 'file')} read as one table"] if others[1:] else []
    notes = []
    for split, members in splits.items():
        _check_shards(path, split, [file.relative_to(path) for file in members])
        names = [file.relative_to(path) for file in members]
        if aliased := [n.as_posix() for n in names if split not in map(_word, (*n.parent.parts, stem_of(n)))]:
            notes.append(f"{path}: {_count(aliased, 'file')} taken as {split}")
    return splits, notes


def split_of(path: Path, file: PurePath) -> str | None:
    """Return the split that a file, relative to its folder, or a folder of it is named after, if any."""
    names = {NAMES[word] for part in (*file.parts[:-1], stem_of(file)) if (word := _word(part)) in NAMES}
    if len(names) > 1:
        raise HarnessError(f"{path / file} is named after {' and '.join(sorted(names))}; leave one of the names")
    return names.pop() if names else None


def _word(name: str) -> str:
    """Return the word of a name that is a word and possibly a number, in lower case."""
    match = NUMBERED.fullmatch(name)
    return match["word"].lower() if match else ""


def _check_twins(path: Path, files: Sequence[PurePath]) -> None:
    """Raise HarnessError for two files of one name in two formats, which may hold the same rows."""
    seen: dict[tuple[str, str], PurePath] = {}
    for file in files:
        other = seen.setdefault((file.parent.as_posix(), stem_of(file).lower()), file)
        if other != file:
            raise HarnessError(f"{path}: {other} and {file} have one name and may hold the same rows; leave one")


def _check_shards(path: Path, split: str, files: Sequence[PurePath]) -> None:
    """Raise HarnessError for two names of a split, a file beside numbered ones, and a shard that is missing."""
    groups: dict[str, set[tuple[str, str]]] = {}
    shards: dict[tuple[str, str], set[int]] = {}
    for file in files:
        for part, parent in zip((*file.parts[:-1], stem_of(file)), (*file.parents,)[::-1], strict=False):
            match = NUMBERED.fullmatch(part)
            if match and NAMES.get(match["word"].lower()) == split:
                form = "file" if not match["shard"] else f"of {match['of']}" if match["of"] else "number"
                groups.setdefault(parent.as_posix(), set()).add((match["word"].lower(), form))
                if match["of"]:
                    shards.setdefault((parent.as_posix(), match["of"]), set()).add(int(match["at"]))
    if any(len(forms) > 1 for forms in groups.values()):
        names = _count([file.as_posix() for file in files], "file")
        raise HarnessError(f"{path}: {names} for {split} under different names; leave one name, or number all of them")
    for (_, total), numbers in shards.items():
        if len(numbers) != int(total):
            raise HarnessError(f"{path}: {split} has {len(numbers)} of {int(total)} shards; add the others")


def _count(names: Sequence[str], noun: str) -> str:
    """Return the number of names, and the first three."""
    return f"{len(names):,} {noun}{'s' if len(names) != 1 else ''} ({name_some(names)})"
