"""Licences of models and data that came from elsewhere, as their packages and cards state them; never guessed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any, Literal, NamedTuple

from harness.contracts.sources import COMMIT

UNKNOWN = "unknown"

SHORT = 60
"""Characters. Packages of old put the whole text of a licence where its name belongs."""

FIELDS = ("License-Expression", "License")

NOT_SAID = ("", UNKNOWN, "none", "other", "n/a")

IDENTIFIERS = {
    "apache-2.0": "apache-2.0",
    "apache 2.0": "apache-2.0",
    "apache license 2.0": "apache-2.0",
    "apache software license": "apache-2.0",
    "mit": "mit",
    "mit license": "mit",
    "bsd-2-clause": "bsd-2-clause",
    "bsd-3-clause": "bsd-3-clause",
    "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "gpl-3.0-only": "gpl-3.0",
    "gpl-3.0-or-later": "gpl-3.0",
    "lgpl-3.0-only": "lgpl-3.0",
    "mpl-2.0": "mpl-2.0",
    "unlicense": "unlicense",
}
"""Names as packages write them, in lower case → the Hub's identifier."""


class Licence(NamedTuple):
    """What is known of it."""

    name: str
    where: str
    """Who says so, or why nobody does."""

    @property
    def identifier(self) -> str:
        """As the Hub's metadata has it: `unknown` where nothing is known, `other` where the Hub has no such name."""
        return UNKNOWN if self.name == UNKNOWN else IDENTIFIERS.get(self.name.lower(), "other")

    def __str__(self) -> str:
        return f"{self.name} ({self.where})"


def of_package(distribution: str) -> Licence:
    """What the metadata of an installed distribution states."""
    try:
        known = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return Licence(UNKNOWN, f"the PyPI package {distribution} is not installed here, which could say")
    where = f"metadata of the PyPI package {distribution}"
    stated = [*(value for name in FIELDS for value in known.get_all(name, [])), *_classified(known)]
    for value in stated:
        name = " ".join(value.split())
        if name.lower() not in NOT_SAID and len(name) <= SHORT:
            return Licence(name, where)
    return Licence(UNKNOWN, f"the {where} states none")


def _classified(known: metadata.PackageMetadata) -> Iterator[str]:
    for line in known.get_all("Classifier", []):
        parts = [part.strip() for part in line.split("::")]
        if parts[0] == "License" and len(parts) > 1 and parts[-1] != "OSI Approved":
            yield parts[-1]


def of_repository(repo: str, commit: str, sort: Literal["model", "dataset"]) -> Licence:
    """What the card of a repository states, where the files fetched at that commit hold it. Asks no network."""
    from huggingface_hub import metadata_load, try_to_load_from_cache
    from yaml import YAMLError

    path = try_to_load_from_cache(repo, "README.md", revision=commit, repo_type=sort)
    if not isinstance(path, str):
        return Licence(UNKNOWN, f"the card of {repo} was not fetched")
    try:
        stated = (metadata_load(path) or {}).get("license")
    except (ValueError, YAMLError):
        return Licence(UNKNOWN, f"the card of {repo} cannot be read")
    names = [stated] if isinstance(stated, str) else [one for one in stated or () if isinstance(one, str)]
    name = ", ".join(name for name in names if name.lower() not in NOT_SAID)
    return Licence(name, f"card of {repo}") if name else Licence(UNKNOWN, f"the card of {repo} states none")


def of_model(recipe: Mapping[str, Any]) -> Licence:
    """Of what a model was before training, by its `recipe` on record."""
    source = recipe.get("source") or {}
    match source.get("type"):
        case "Package":
            return of_package(source["distribution"])
        case "Hub":
            commit = source.get("revision") or recipe.get("source_content") or ""
            return of_repository(source["repo"], commit, "model")
        case "Native" | "Scratch":
            return Licence(UNKNOWN, "it began with random weights, and nobody has said what it may be used for")
    return Licence(UNKNOWN, "a folder of its author's own, which states none")


def of_data(source: str, content: str) -> Licence:
    """Of a task's rows, by what is on record of where they came from and what they are."""
    repo = hub_dataset(source, content)
    if repo is not None:
        return of_repository(repo, content, "dataset")
    distribution, _, path = source.partition(": ")
    return of_package(distribution) if path else Licence(UNKNOWN, "rows of their author's own, who states none")


def hub_dataset(source: str, content: str) -> str | None:
    """The repository that rows came from, if it was the Hub: only there a commit tells what they are."""
    return source.split(" ", 1)[0] if COMMIT.fullmatch(content) else None
