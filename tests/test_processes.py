"""One run on one device, on eight, and on two processes with two each: the same numbers.

The eight, and those that pretrain, hold the encoder whole; the two of a process share its weights.
"""

import dataclasses
import json
import socket

import numpy as np
import pytest
from fork_server import ForkServer

import jaxpart
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.runs.rows import read_rows

pytestmark = pytest.mark.slow

RUN = [
    "--config=configs/mocov3_part.py",
    "--config.data.image_size=32",
    "--config.data.num_images=37",  # divisible by no number of devices, nor are its patches
    "--config.features.cache=off",
    "--config.retrieval.representations=('embedding','projection')",
    "--config.retrieval.batch_size=24",
    "--config.classification.heads=('linear',)",
    "--config.classification.references=()",
    "--config.classification.selection=False",
    "--config.classification.linear.epochs=3",
    "--config.classification.linear.batch_size=48",
    "--config.classification.encoder_batch_size=24",
    "--config.segmentation.sets=('critters_part',)",
    "--config.segmentation.readouts=('paper',)",
    "--config.segmentation.shares=()",
    "--config.segmentation.train_images=11",
    "--config.segmentation.test_images=7",
    "--config.segmentation.iterations=3",
    "--config.segmentation.warmup=1",
    "--config.segmentation.batch_size=8",
    "--config.segmentation.window_batch=8",
    "--config.segmentation.incontext.images=5",
    "--config.segmentation.pictures=1",
]


TINY = """
from configs.pretrain import mocov3  # its BatchNorm and its contrast see the whole batch

def get_config():
    config = mocov3.get_config()
    config.encoder.update(width=32, depth=1, num_heads=2, mlp_width=64)
    config.projector.update(hidden=(32,), predictor=32)
    return config
"""
PRETRAINING = [
    "--config.data.num_images=24",
    "--config.batch_size=8",
    "--config.epochs=1",
    "--config.warmup_epochs=0",
    "--config.validation.points=1",
    "--config.validation.images=72",
]


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory):
    server = ForkServer(tmp_path_factory.mktemp("fork_server"), killed=False)
    yield server
    server.close()


def finish(server, folder, devices, arguments, *, program="main", numbers=(0,)):
    """What each of several processes, or of one, prints; they name different work directories."""
    orders = [
        server.order(
            program,
            [argument.format(number) for argument in [*arguments, "--workdir=run{}"]],
            folder,
            devices=devices,
        )
        for number in numbers
    ]
    answers = server.together(*orders)
    outputs = [answer["output"] for answer in answers]
    assert [answer["status"] for answer in answers] == [0] * len(orders), outputs
    return outputs


def two_processes(server, folder, arguments, **options):
    """Two processes with two devices each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    together = [f"--coordinator=127.0.0.1:{port}", "--num-processes=2", "--process-id={}"]
    return finish(server, folder, 2, [*arguments, *together], numbers=(0, 1), **options)


def values(folder):
    rows = read_rows(json.loads((folder / "results.json").read_text()), folder)
    return {row.key: row.value for row in rows}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The option that names a small MoCo v3."""
    body = {
        "image_size": (32, 32),
        "patch_size": 8,
        "width": 32,
        "depth": 2,
        "num_heads": 2,
        "mlp_width": 64,
    }
    config = dataclasses.replace(small_config("mocov3"), **body)
    folder = tmp_path_factory.mktemp("encoder") / "mocov3"
    # With seed 0, two similarities are so nearly equal that they change places on some CPUs.
    jaxpart.save_encoder(random_encoder("mocov3", config, seed=1), folder)
    return f"--config.encoder.checkpoint={folder}"


@pytest.fixture(scope="module")
def alone(fork_server, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    finish(fork_server, folder, 1, [*RUN, encoder])
    return values(folder / "run0")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    wrong = {
        name: (found[name], expected[name]) for name in found if not close(found, expected, name)
    }
    assert not wrong


def close(found, expected, name):
    one, other = found[name], expected[name]
    return abs(one - other) <= 1e-5 or (one != one and other != other)


def test_eight_devices(fork_server, encoder, alone, tmp_path):
    finish(fork_server, tmp_path, 8, [*RUN, encoder])
    assert_same(values(tmp_path / "run0"), alone)


def test_two_processes(fork_server, encoder, alone, tmp_path):
    shared = "--config.encoder.model_devices=2"
    main, other = two_processes(fork_server, tmp_path, [*RUN, encoder, shared])
    assert_same(values(tmp_path / "run0"), alone)
    assert "part retrieval" in main
    assert "part retrieval" not in other
    assert not (tmp_path / "run1").exists()  # the main process's folder is everybody's


def test_two_processes_pretrain(fork_server, tmp_path):
    (tmp_path / "tiny.py").write_text(TINY)
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    options = [f"--config={tmp_path / 'tiny.py'}", *PRETRAINING]
    finish(fork_server, alone, 1, options, program="pretraining")
    main, other = two_processes(fork_server, together, options, program="pretraining")
    assert "mocov3: 24 images" in main
    assert "mocov3: 24 images" not in other
    one, both = (jaxpart.load_encoder(folder / "run0" / "encoder") for folder in (alone, together))
    # Adam brings rounding to the size of a step, most of all in keys' biases, whose gradient is 0.
    noise = one.normalize(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    np.testing.assert_allclose(both(noise)["tokens"], one(noise)["tokens"], atol=1e-3)
    curves = [
        json.loads((folder / "run0" / "results.json").read_text()) for folder in (alone, together)
    ]
    assert curves[1]["curve"]["loss"] == pytest.approx(curves[0]["curve"]["loss"], abs=1e-4)
    assert curves[1]["validation"]["parts"] == pytest.approx(
        curves[0]["validation"]["parts"], abs=1e-3
    )
    assert not (together / "run1").exists()
