"""Where attention goes: against the weights themselves, image by image."""

import numpy as np
import pytest
from carried_out import carried_out

from jaxpart.config import part_config
from jaxpart.data.sets import retrieval_set
from jaxpart.data.squares import square_view
from jaxpart.encoders.configured import configured_encoder
from jaxpart.errors import JaxpartError
from jaxpart.runs.config_checks import check_config
from jaxpart.runs.rows import find_row, select
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks import attention

GRID, PATCH = 6, 16
SIDE = GRID * PATCH


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    config = part_config("ibot", "", projector=True)
    config.tasks = ("attention",)
    config.data.num_images, config.data.image_size, config.attention.images = 30, SIDE, 20
    check_config(config)
    encoder = configured_encoder(config)
    folder = tmp_path_factory.mktemp("run")
    return config, encoder, carried_out(attention, encoder, config, WorkDir(folder, {})), folder


def last_block(config, encoder):
    """Of the last block: distances [image, head], weights of cls [image, head, patch], and the images."""
    source, selection = retrieval_set("critters", config.data)
    numbers = np.sort(np.random.default_rng(config.seed).permutation(30)[:20])
    view = square_view(source, size=SIDE, layout="centred")
    pixels = np.stack(list(view.read(numbers.tolist())))
    weights = np.asarray(encoder(encoder.normalize(pixels), attention=True)["attention"])
    weights = weights[..., 1:] / weights[..., 1:].sum(axis=-1, keepdims=True)
    far = np.zeros((20, 4))
    for query in range(GRID**2):
        for key in range(GRID**2):
            gap = np.hypot(query // GRID - key // GRID, query % GRID - key % GRID) / GRID
            far += weights[:, :, 1 + query, key] * gap / GRID**2
    return far, weights[:, :, 0], [source.annotation(n) for n in numbers], selection


@pytest.mark.slow
def test_it_is_what_the_weights_say(measured):
    config, encoder, rows, folder = measured
    far, asking, annotations, selection = last_block(config, encoder)
    last = f"block{encoder.config.depth - 1}"
    for head in range(4):
        row = find_row(rows, "critters", "attention", "distance", f"head{head}", last)
        assert row.value == pytest.approx(far[:, head].mean(), abs=1e-6)
    row = find_row(rows, "critters", "attention", "distance", representation=last)
    assert row.value == pytest.approx(far.mean(), abs=1e-6)
    for part, name in selection.parts.items():
        own, where = {}, {}
        for number, annotation in enumerate(annotations):
            points = annotation.keypoints
            (found,) = np.nonzero((points.part == part) & points.visible)
            if len(found):
                x, y = np.floor(points.xy[found[0]] / PATCH).astype(int)
                where[number] = y * GRID + x
                own[number] = asking[number, :, y * GRID + x]
        seen = sorted(own)
        after = dict(zip(seen, [*seen[1:], seen[0]], strict=True))
        other = {number: asking[number, :, where[after[number]]] for number in seen}
        head = np.mean([own[n] - other[n] for n in seen[::2]], axis=0).argmax()
        for metric, values in (("affinity", own), (attention.ELSEWHERE, other)):
            (row,) = select(rows, metric=metric, representation=last, group=name)
            assert row.head == f"head{head}"
            assert row.value == pytest.approx(
                np.mean([values[n][head] for n in seen[1::2]]), abs=1e-6
            )
    with np.load(folder / "attention_critters.npz") as file:
        assert len(file["ids"]) == 20


def test_uniform_attention_and_the_table(measured):
    _, encoder, rows, _ = measured
    uniform = find_row(rows, "critters", "attention", "distance", "baseline", "uniform").value
    cells = np.stack(np.divmod(np.arange(GRID**2), GRID), axis=1) / GRID
    assert uniform == pytest.approx(
        np.linalg.norm(cells[:, None] - cells, axis=-1).mean(), abs=1e-6
    )
    affinity = find_row(rows, "critters", "attention", "affinity", "baseline", "uniform").value
    assert affinity == 1 / GRID**2
    shown = attention.section(rows).rows
    assert [cells[0] for cells in shown] == [
        "critters, uniform",
        *(f"critters, block{block}" for block in range(encoder.config.depth)),
    ]
    assert shown[-1][-1].startswith("eye ")


def test_what_is_no_vit_or_too_little_is_refused(measured):
    config, encoder, _, _ = measured
    config = config.copy_and_resolve_references()
    config.attention.images = 3
    with pytest.raises(JaxpartError, match="critters has 3 images; attention needs at least 4"):
        carried_out(attention, encoder, config)
