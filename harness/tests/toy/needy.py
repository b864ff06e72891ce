"""A backend that imports what its suite may import."""

from pathlib import Path

import toydata
from own import NUMPY

from harness.contracts.backend import Backend, Session, Target


def load(artifact: Path, target: Target) -> Session:
    return NUMPY.load(artifact, target)._replace(settings={"task": toydata.TASK.name})


NEEDY = Backend(name="needy", load=load, devices=("cpu",))
