"""The pure loss functions against the original PyTorch code (golden/protocol/objectives.npz)."""

import numpy as np
import pytest

from jaxpart.pretraining import cae, dino, ibot, mae, mocov3

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def arrays(golden):
    return dict(np.load(golden / "protocol/objectives.npz"))


def crops(array, count):
    return array.reshape(count, -1, *array.shape[1:])


def close(ours, expected):
    assert np.abs(np.asarray(ours) - expected).max() <= TOLERANCE


def test_mocov3(arrays):
    predictions = np.stack([arrays["mocov3/q1"], arrays["mocov3/q2"]])
    keys = np.stack([arrays["mocov3/k1"], arrays["mocov3/k2"]])
    loss = mocov3.mocov3_loss(predictions, keys, float(arrays["mocov3/temperature"]))
    close(loss, arrays["mocov3/loss"])


def test_dino(arrays):
    student, teacher = crops(arrays["dino/student"], 5), crops(arrays["dino/teacher"], 2)
    center = arrays["dino/center"]
    loss = dino.dino_loss(student, teacher, center, float(arrays["dino/teacher_temp"]))
    close(loss, arrays["dino/loss"])
    close(dino.moved_center(center, teacher.mean(axis=(0, 1))), arrays["dino/new_center"])


def test_ibot(arrays):
    a = {key.removeprefix("ibot/"): value for key, value in arrays.items()}
    student = np.concatenate([crops(a["student_cls"], 2), crops(a["student_local_cls"], 3)])
    teacher = crops(a["teacher_cls"], 2)
    loss_cls = dino.dino_loss(student, teacher, a["center"], float(a["teacher_temp"]))
    close(loss_cls, a["loss_cls"])
    patches = crops(a["teacher_patch"], 2)
    loss_patch = ibot.patch_loss(
        crops(a["student_patch"], 2),
        patches,
        a["mask"].reshape(2, 4, 16),
        a["center2"],
        float(a["teacher_temp2"]),
    )
    close(loss_patch, a["loss_patch"])
    close(loss_cls + loss_patch, a["loss"])
    close(dino.moved_center(a["center"], teacher.mean(axis=(0, 1))), a["new_center"])
    close(dino.moved_center(a["center2"], patches.mean(axis=(0, 1, 2))), a["new_center2"])


def test_mae(arrays):
    images = arrays["mae/image"].transpose(0, 2, 3, 1)
    target = mae.patches_of(images, int(arrays["mae/patch_size"]))
    prediction, mask = arrays["mae/prediction"], arrays["mae/mask"]
    close(mae.mae_loss(prediction, target, mask), arrays["mae/loss_norm_pix"])


def test_cae(arrays):
    tokens, alignment = cae.cae_losses(
        arrays["cae/logits"],
        arrays["cae/labels"],
        arrays["cae/latent_predict"],
        arrays["cae/latent_target"],
    )
    close(tokens, arrays["cae/loss_main"])
    close(alignment, arrays["cae/loss_align"])
    assert float(arrays["cae/align_weight"]) == cae.ALIGNMENT_WEIGHT
