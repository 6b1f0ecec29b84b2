"""One task carried out, for its tests."""

import pathlib

from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.plans import carry_out

QUIET = Progress(shown=False)
NOTHING = WorkDir(pathlib.Path(), {}, writes=False)


def carried_out(task, encoder, config, workdir=NOTHING, progress=QUIET):
    """The rows of a task's module."""
    plans = task.plans(encoder, config, progress)
    return list(carry_out(plans, config.features, workdir, progress))
