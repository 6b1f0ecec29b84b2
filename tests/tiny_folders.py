"""Encoders' folders with decoders as pretraining leaves them: one block, random weights."""

import dataclasses

import jax
import numpy as np
from flax import nnx

from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.loading import write_encoder
from jaxpart.encoders.small import small_config
from jaxpart.encoders.weights import arrays_of
from jaxpart.pretraining.decoders import DecoderConfig, write_decoder
from jaxpart.pretraining.objective import Student

SIZE, SIDE, TOKENS = 32, 8, 5


def tiny_folder(path, kind, *, codebook=True):
    """Writes the folder of a method's encoder and decoder; returns it."""
    body = {
        "image_size": (SIZE, SIZE),
        "patch_size": SIDE,
        "depth": 1,
        "width": 24,
        "num_heads": 3,
        "mlp_width": 24,
    }
    encoder = dataclasses.replace(small_config(kind), **body)
    pixels = SIDE * SIDE * 3
    decoder = DecoderConfig(
        kind,
        encoder.grid,
        out={"mae": pixels, "ibot": 0}.get(kind, TOKENS),
        width=24,
        num_heads=3,
        mlp_width=24,
        depth=1,
        regressor_depth=1,
        regressor_mlp_width=24,
        codebook=pixels if codebook and kind in ("beit", "cae") else 0,
    )
    student = Student(encoder, decoder, rngs=nnx.Rngs(0))
    if decoder.codebook:
        entries = np.random.default_rng(0).uniform(size=(TOKENS, pixels))
        student.decoder.codebook[...] = jax.numpy.asarray(entries, np.float32)
    path.mkdir(parents=True)
    about = write_decoder(path, decoder, arrays_of(student.decoder))
    about["pretraining"] = {"images_seen": 0}
    write_encoder(path, kind, encoder, Preprocessing(), arrays_of(student.vit), about)
    return path
