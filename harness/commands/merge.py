"""The command `merge`: the results of several jobs and machines in one folder, none of them lost."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from harness.errors import HarnessError
from harness.results.schema import Finals, Result
from harness.results.store import answers_path, is_finals, parse, parse_finals
from harness.util.files import check_writable, write_atomically
from harness.util.machine import Environment
from harness.verdicts.comparability import environment_differences

WRITERS = 8
"""Files written at once: the disk confirms them together."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A result or finals on disk, as far as merging is concerned."""

    path: Path
    name: str
    """Path below the machine's folder."""
    environment: Environment
    created: str
    shards: tuple[tuple[str, ...], ...]
    digest: str

    @property
    def home(self) -> Path:
        """The machine's folder, in which its session wrote it."""
        return self.path.parents[1]

    @property
    def task(self) -> str:
        """Its task."""
        return self.path.parent.name


Key = tuple[str, str]
"""Machine, and name below its folder: what exists once."""


def declare_merge(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench merge`."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders with results, at any depth")
    into = "folder of results that gets them; what it has is kept"
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help=into)


def run_merge(options: Namespace) -> int:
    """Copy results into one folder; return 1 if tasks of a shard are missing there. Nothing is copied on an error."""
    into: Path = options.into
    for folder in options.folders:
        if not folder.is_dir():
            raise HarnessError(f"{folder}: no such folder; name those that hold the results of the jobs")
        if into.resolve() in folder.resolve().parents:
            raise HarnessError(f"{folder} lies in {into}, whose tables would count its results twice; move it out")
    new = [piece for folder in options.folders for piece in read(folder)]
    if not new:
        raise HarnessError(f"{', '.join(map(str, options.folders))}: no results; name the folders that jobs wrote to")
    machines = sorted({piece.environment.machine for piece in new})
    there = [piece for machine in machines if (into / machine).is_dir() for piece in read(into / machine)]
    merged = unite([*there, *new])
    check_writable(into, "--into")
    with ThreadPoolExecutor(WRITERS) as pool:
        added = sum(
            pool.map(lambda piece: _copy(piece, into / piece.environment.machine / piece.name), merged.values())
        )
    print(f"{into}: {added} results and finals of {', '.join(machines)} added, {len(merged) - added} were there")
    print(f"run shipbench report --ship-results {into} for its tables")
    absent = list(missing(merged.values()))
    for sentence in absent:
        print(f"missing: {sentence}")
    return 1 if absent else 0


def read(folder: Path) -> Iterator[Piece]:
    """Read every result and finals under a folder; HarnessError for one that is unreadable or was renamed."""
    for path in sorted(folder.rglob("*.json")):
        raw = path.read_bytes()
        record: Result | Finals = parse_finals(raw, path) if is_finals(path) else parse(raw, path)
        stem = record.name if isinstance(record, Result) else f"{record.task}/finals.{record.device}"
        if path.parts[-2:] != (record.task, Path(f"{stem}.json").name):
            raise HarnessError(f"{path}: holds {stem}, under another name; give it its own name back, or delete it")
        yield Piece(
            path=path,
            name=f"{stem}.json",
            environment=record.environment,
            created=record.created,
            shards=record.shards if isinstance(record, Result) else (),
            digest=sha256(raw).hexdigest(),
        )


def unite(pieces: Iterable[Piece]) -> dict[Key, Piece]:
    """Return each result once, the first of equal ones; HarnessError where two contradict each other.

    A machine whose results lie in one folder is taken as it is. Those of several folders must have been measured at one
    commit, in one environment, and as shards of one run.
    """
    merged: dict[Key, Piece] = {}
    first: dict[str, Piece] = {}
    homes: dict[str, set[Path]] = {}
    for piece in (pieces := list(pieces)):
        homes.setdefault(piece.environment.machine, set()).add(piece.home.resolve())
    for piece in pieces:
        machine = piece.environment.machine
        other = merged.setdefault((machine, piece.name), piece)
        if not _is_same(piece, other):
            raise HarnessError(
                f"{other.path} and {piece.path} are different results of one case on {machine}, of {other.created} and "
                f"{piece.created}: delete one, or measure under another --ship-machine"
            )
        mate = first.setdefault(machine, piece)
        if len(homes[machine]) > 1 and (unequal := _differences(mate, piece)):
            raise HarnessError(
                f"{mate.path} and {piece.path} are of one machine, {machine}, and differ in {'; '.join(unequal)}: run "
                "both again alike, delete one, or measure under another --ship-machine"
            )
    return merged


def missing(pieces: Iterable[Piece]) -> Iterator[str]:
    """Yield a sentence for every shard of which tasks have no result, by machine.

    Jobs may have a machine's name each, as on rented runners that differ: then all machines together have every task.
    """
    tasks: dict[str, set[str]] = {}
    runs: dict[tuple[tuple[str, ...], ...], dict[str, None]] = {}
    for piece in pieces:
        tasks.setdefault(piece.environment.machine, set()).add(piece.task)
        if piece.shards:
            runs.setdefault(piece.shards, {})[piece.environment.machine] = None
    for shards, machines in runs.items():
        jobs = [[machine] for machine in machines]
        if all(sum(not tasks[machine].isdisjoint(shard) for shard in shards) == 1 for machine in machines):
            jobs = [list(machines)]
        for job in jobs:
            measured = set().union(*(tasks[machine] for machine in job))
            for number, shard in enumerate(shards, 1):
                if absent := [task for task in shard if task not in measured]:
                    lacking = f"{', '.join(absent)} on {', '.join(job)}"
                    yield f"{lacking}, which shard {number}/{len(shards)} should have measured"


def _is_same(piece: Piece, other: Piece) -> bool:
    """Return whether two files hold the same result with the same answers, as far as both have these."""
    if piece.path == other.path:
        return True
    answers = [path for one in (piece, other) if (path := answers_path(one.path)).exists()]
    return piece.digest == other.digest and (len(answers) < 2 or answers[0].read_bytes() == answers[1].read_bytes())


def _differences(first: Piece, second: Piece) -> list[str]:
    """Name every field in which the circumstances of two results differ."""
    names = (str(first.home), str(second.home))
    unequal = environment_differences(first.environment, second.environment, [f"in {name}" for name in names])
    for name in ("commit", "dirty"):
        one, other = (getattr(piece.environment, name) for piece in (first, second))
        unequal += [f"{name} {one} in {names[0]}, {other} in {names[1]}"] if one != other else []
    if first.shards and second.shards and first.shards != second.shards:
        unequal.append(
            f"shards: of {_describe(first.shards)} in {names[0]}, of {_describe(second.shards)} in {names[1]}"
        )
    return unequal


def _describe(shards: Sequence[Sequence[str]]) -> str:
    return f"{len(shards)} ({' | '.join(', '.join(tasks) for tasks in shards)})"


def _copy(piece: Piece, target: Path) -> bool:
    """Copy a result after its answers and its log, unless they are there; return True if it was not."""
    is_new = not target.exists()
    for suffix in (".parquet", ".log", ".json"):
        source, place = piece.path.with_suffix(suffix), target.with_suffix(suffix)
        if source.exists() and not place.exists():
            write_atomically(place, source.read_bytes())
    return is_new
