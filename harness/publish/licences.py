"""Licences of base models and data, as their packages and cards state them; never guessed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any, Literal, NamedTuple

from harness.contracts.sources import COMMIT

UNKNOWN = "unknown"

LONGEST_NAME = 60
"""Characters. Old packages put the licence's whole text in place of its name."""

FIELDS = ("License-Expression", "License")

NOT_STATED = ("", UNKNOWN, "none", "other", "n/a")

IDENTIFIERS = {
    **{name: name for name in (
        "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
        "mpl-2.0", "unlicense",
    )},
    **dict.fromkeys(("apache 2.0", "apache license 2.0", "apache software license"), "apache-2.0"),
    **dict.fromkeys(("gpl-3.0-only", "gpl-3.0-or-later"), "gpl-3.0"),
    "mit license": "mit", "lgpl-3.0-only": "lgpl-3.0",
}  # fmt: skip
"""A package's name for the licence, in lower case → the Hub's identifier."""


class Licence(NamedTuple):
    """A stated licence, or `unknown`."""

    name: str
    source: str
    """The place that states it, or the reason why it is unknown."""

    @property
    def identifier(self) -> str:
        """Return the Hub's identifier: `unknown` for an unknown licence, `other` for one that the Hub does not list."""
        return UNKNOWN if self.name == UNKNOWN else IDENTIFIERS.get(self.name.lower(), "other")

    def __str__(self) -> str:
        return f"{self.name} ({self.source})"


def of_model(recipe: Mapping[str, Any]) -> Licence:
    """Return the licence of the base model that a stored `recipe` names."""
    source = recipe.get("source") or {}
    match source.get("type"):
        case "Package":
            return _of_package(source["distribution"])
        case "Hub":
            return _of_repository(source["repo"], source.get("revision") or recipe.get("source_content") or "", "model")
        case "Native" | "Scratch":
            return Licence(UNKNOWN, "trained from random weights, and its author stated none")
    return Licence(UNKNOWN, "a local folder, which states none")


def of_data(source: str, content: str) -> Licence:
    """Return the licence of a task's rows, by their stored source and digest."""
    repo = hub_dataset(source, content)
    if repo is not None:
        return _of_repository(repo, content, "dataset")
    distribution, _, path = source.partition(": ")
    return _of_package(distribution) if path else Licence(UNKNOWN, "the author's own rows, which state none")


def hub_dataset(source: str, content: str) -> str | None:
    """Return the repository that rows came from; None unless it was the Hub, whose rows alone a commit identifies."""
    return source.split(" ", 1)[0] if COMMIT.fullmatch(content) else None


def _of_package(distribution: str) -> Licence:
    """Return the licence in the metadata of an installed distribution."""
    try:
        fields = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return Licence(UNKNOWN, f"the PyPI package {distribution}, which may state it, is not installed here")
    where = f"metadata of the PyPI package {distribution}"
    stated = [*(value for name in FIELDS for value in fields.get_all(name, [])), *_classified(fields)]
    for value in stated:
        name = " ".join(value.split())
        if name.lower() not in NOT_STATED and len(name) <= LONGEST_NAME:
            return Licence(name, where)
    return Licence(UNKNOWN, f"the {where} states none")


def _classified(fields: metadata.PackageMetadata) -> Iterator[str]:
    for line in fields.get_all("Classifier", []):
        parts = [part.strip() for part in line.split("::")]
        if parts[0] == "License" and len(parts) > 1 and parts[-1] != "OSI Approved":
            yield parts[-1]


def _of_repository(repo: str, commit: str, sort: Literal["model", "dataset"]) -> Licence:
    """Return the licence in a repository's card, if it was fetched at that commit. Uses no network."""
    from huggingface_hub import metadata_load, try_to_load_from_cache
    from yaml import YAMLError

    path = try_to_load_from_cache(repo, "README.md", revision=commit, repo_type=sort)
    if not isinstance(path, str):
        return Licence(UNKNOWN, f"the card of {repo} was not fetched")
    try:
        stated = (metadata_load(path) or {}).get("license")
    except (ValueError, YAMLError):
        return Licence(UNKNOWN, f"the card of {repo} cannot be read")
    names = [stated] if isinstance(stated, str) else [name for name in stated or () if isinstance(name, str)]
    name = ", ".join(name for name in names if name.lower() not in NOT_STATED)
    return Licence(name, f"card of {repo}") if name else Licence(UNKNOWN, f"the card of {repo} states none")
