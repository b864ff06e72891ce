"""A data set of two hundred sentences about three things; every sentence has a word that gives its topic away."""

import csv
from collections.abc import Iterator
from pathlib import Path

from harness.contracts.sources import Package
from harness.kinds import text_classification
from harness.spec import Task


def sentences(file: Path) -> Iterator[dict[str, str]]:
    """One line a sentence, said so and so many times over: one text is empty, some are far too long."""
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            yield {"text": " ".join([row["text"]] * int(row["times"])), "topic": row["topic"]}


TASK = Task(
    name="toy",
    kind=text_classification,
    dataset=Package(
        "toydata",
        "toydata/rows.csv",
        sha256="95dc680d17a3fa1de55365d1e91f21085a1005366212c5bb02508005c6c93043",
        read=sentences,
    ),
    inputs=("text",),
    label="topic",
    metric="accuracy",
    test=48,
    validation=24,
    calibration=12,
)
