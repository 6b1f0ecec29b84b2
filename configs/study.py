r"""The paper's comparison in miniature: seven small encoders, all tasks, one table.

    python -m jaxpart.main --config configs/study.py

measures the seven encoders bundled with jaxpart on the bundled data set; under 10 minutes on 2 cores.
A study that was ended goes on with the encoder it was at, if --workdir names its folder.

    python -m jaxpart.main --config configs/study.py --config.seeds=3

adds the stored results of two more pretrainings of each method, so that every figure has an interval.
Any encoders can be compared, by method, by folder, or by a folder that holds several:

    python -m jaxpart.main --config configs/study.py \
        --config.encoders="('ibot','checkpoints/mine','zoo/seed1')"

At its end it says of each of the paper's four claims whether it holds at this scale, by the rules of
jaxpart/study/claims.py. docs/study.md holds the stored results: what to expect is there.
"""

from ml_collections import ConfigDict

from jaxpart.config import study_config
from jaxpart.runs.paper import METHODS


def get_config(variant: str | None = None) -> ConfigDict:
    """No variants."""
    return study_config(variant, tuple(METHODS))
