"""Linear heads, few-shot and in-context segmentation on every set of parts that is not the paper's."""

import pytest
from carried_out import carried_out
from data import layouts

from jaxpart import config as configs
from jaxpart import devices
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.vit import ViTConfig
from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.segmentation import experiment as segmentation

SETS = (
    "pascal_part_58",
    "pascal_part_116",
    "partimagenet_part",
    "partimagenet_object",
    "paco_part",
    "paco_object",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_it_is_segmented(name, tmp_path):
    layouts.BUILDERS[name](tmp_path / "data")
    config = configs.part_config("deit", None, projector=False)
    config.data.root = str(tmp_path / "data")
    config.segmentation.update(
        {
            "sets": (name,),
            "readouts": ("paper",),
            "shares": (0.9,),
            "iterations": 2,
            "batch_size": 4,
        }
        | {"warmup": 1, "train_images": 0, "test_images": 0, "window_batch": 2, "pictures": 1}
    )
    config.segmentation.incontext.images = 2
    config.segmentation.settings[name].update(
        {"crop": 16, "stride": 8, "train_scale": (24, 16), "test_scale": (24, 16)}
    )
    architecture = ViTConfig(
        image_size=(16, 16), patch_size=8, width=16, depth=1, num_heads=2, mlp_width=16
    )
    encoder = devices.replicate(random_encoder("deit", architecture))
    rows = carried_out(
        segmentation, encoder, config, WorkDir(tmp_path / "run", {}), Progress(shown=False)
    )
    heads = {row.key.head for row in rows if row.key.metric == "mIoU"}
    assert heads == {"paper", "paper@90%", "incontext"}
