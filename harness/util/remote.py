"""A place outside this machine for finished entries of a store: a bucket, or whatever else fsspec reaches by a URL.

Objects are named by the sha256 of their contents, and an entry's marker, which names them, is written last: whoever
reads the marker reads a whole entry, and two writers of one entry write the same objects or different ones.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from harness.errors import HarnessError, brief_error

OBJECTS = "objects"
"""Folder of the contents of files."""


@dataclass(frozen=True)
class Remote:
    """The place at a URL. Every method raises HarnessError that names the URL."""

    url: str

    def check(self) -> None:
        """Raise HarnessError unless objects can be looked for, written, read and removed there."""
        name, content = f"check-{uuid.uuid4().hex}", b"shipbench"
        self.marker(name)  # which S3 denies, rather than to say that it is not there, to whoever may not list a bucket
        with self._explained("be written and read"):
            self._files.pipe_file(self._path(name), content)
            returned = self._files.cat_file(self._path(name))
        with self._explained("be cleared of the file that was written to try it"):
            self._files.rm_file(self._path(name))
        if returned != content:
            problem = f"returns {returned[:20]!r} where {content!r} was written"
            raise HarnessError(f"{self.url}: {problem}; name a place that keeps what it is given")

    def marker(self, name: str) -> bytes | None:
        """Return the marker of an entry; None if the entry is not there."""
        with self._explained("be read"):
            try:
                content: bytes = self._files.cat_file(self._path(f"{name}.json"))
            except FileNotFoundError:
                return None
            return content

    def download(self, files: Mapping[str, str], folder: Path) -> None:
        """Fetch the files of an entry, path → sha256; HarnessError if one holds something else."""
        for name, digest in files.items():
            pure = PurePosixPath(name)
            if pure.is_absolute() or ".." in pure.parts:
                raise HarnessError(f"{self.url}: an entry has a file {name!r}, which lies outside of it; remove it")
            place = self._path(f"{OBJECTS}/{digest}")
            with self._explained("be read"):
                (folder / pure).parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(place, str(folder / pure))
                with (folder / pure).open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            if content != digest:
                raise HarnessError(f"{place}: holds something else, whose sha256 is {content}; find out why; remove it")

    def upload(
        self, name: str, marker: bytes, files: Mapping[str, str], folder: Path, replace: bool = False
    ) -> bytes | None:
        """Write an entry, its marker last; return the marker of one that came first, unless told to replace it."""
        with self._explained("be written"):
            for file, digest in files.items():
                self._files.put_file(str(folder / file), self._path(f"{OBJECTS}/{digest}"))
        if not replace and (theirs := self.marker(name)) is not None:
            return theirs
        with self._explained("be written"):
            self._files.pipe_file(self._path(f"{name}.json"), marker)
        return None

    def _path(self, name: str) -> str:
        return f"{self.url}/{name}"

    @cached_property
    def _files(self) -> Any:
        """The file system behind the URL."""
        from fsspec.core import url_to_fs

        return url_to_fs(self.url)[0]

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turn whatever a file system raises into a HarnessError: each has errors of its own."""
        try:
            yield
        except ImportError as error:
            raise HarnessError(f"{self.url}: {error}; pip install it on every machine") from error
        except Exception as error:
            raise HarnessError(
                f"{self.url}: cannot {verb}: {brief_error(error)}; check its name, your rights and your network"
            ) from error
