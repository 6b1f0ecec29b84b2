r"""The paper's comparison in miniature: seven small encoders, all tasks, one table.

    python -m jaxpart.main --config configs/study.py

measures the seven encoders bundled with jaxpart on the bundled data set; about four minutes on 2 cores.
An interrupted study resumes with the encoder it had reached if --workdir names its folder.

The package stores the results of three pretraining runs of DINO, BEiT, MAE, CAE and iBOT, and of one of
DeiT and MoCo v3, which take an hour. --config.seeds=3 adds the others; figures get intervals over them.
Any encoders can be compared, by method, by folder, or by a folder that holds several:

    python -m jaxpart.main --config configs/study.py \
        --config.encoders="('ibot','checkpoints/mine','zoo/seed1')"

At the end it reports whether each of the paper's four claims holds at this scale, by the rules of
jaxpart/study/claims.py. docs/study.md shows the stored results, which are what to expect.
"""

from ml_collections import ConfigDict

from jaxpart.config import study_config
from jaxpart.runs.paper import METHODS


def get_config(variant: str | None = None) -> ConfigDict:
    """No variants."""
    return study_config(variant, tuple(METHODS))
