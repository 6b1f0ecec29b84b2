"""A twin: a PyTorch model with random weights, and the encoder converted from its checkpoint."""

import pytest
from twins import Twin, check_facts, encoder_of, randomise, save


@pytest.fixture
def twin(tmp_path):
    """(family, layout, model, its blocks, options) → `Twin`."""
    pytest.importorskip("torch")

    def make(family, layout, model, blocks, **options):
        randomise(model)
        path = save(model, layout, tmp_path)
        encoder = encoder_of(path, family, layout, **{"num_heads": 3} | options)
        check_facts(encoder, family)
        return Twin(model, list(blocks), encoder, path)

    return make
