r"""Object classification with linear and attentive probes.

    python -m jaxpart.main --config configs/imagenet_probe.py

classifies the 24 kinds of the bundled data set with the bundled small iBOT encoder, on
random crops; under 2 minutes on 2 cores.

    python -m convert mae CHECKPOINT checkpoints/mae_vitb16
    python -m jaxpart.main --config configs/imagenet_probe.py:mae \
        --config.encoder.checkpoint=checkpoints/mae_vitb16 --config.data.root=DATA

probes ImageNet-1k (DATA holds imagenet/train and imagenet/val) with the method's own published recipe
for linear probing: 90 to 100 passes of the encoder over the training set, which train both kinds of head,
each at all its learning rates. The recipes and their sources:

mae      LARS, base rate 0.1, batch 16384, 90 epochs, 10 of warm-up, cosine per step, no weight decay,
         BatchNorm without affine and with epsilon 1e-6 before the layer, the last incomplete batch
         dropped (MAE paper, table 10; main_linprobe.py).
mocov3   SGD, base rate 3, batch 1024, 90 epochs, cosine per epoch, no weight decay (README and
         main_lincls.py, where it is given for ViT-S; assumed to be the same for ViT-B).
dino     SGD, base rate 0.001, batch 1024, 100 epochs, cosine per epoch, no weight decay, on cls token
         and mean patch token concatenated (eval_linear.py with its options for ViT-B).
ibot     As dino, over a list of rates (eval_linear_multi.py); NOT CERTAIN: the list and the features.
cae      As mae (run_linear.py with the options of scripts/cae_base_800e.sh in Atten4Vis/CAE).
beit     SGD over a list of rates, 50 epochs; NOT CERTAIN: the paper reads a middle block's mean token.
deit     No training: its own classifier as is. Fine-tuned BEiT likewise, with
         --config.method=beit and its checkpoint.

An attentive probe is trained alongside each. CAE's own recipe is published (run_attentive.py with the
same script's options) and used by `:cae`: zero-initialised query, matrices from an untruncated normal,
SGD with Nesterov momentum, unscaled rate 0.4, down to 1e-6, batch 8192, 90 epochs, 10 of warm-up from
0, cosine per step, the last incomplete batch dropped, batch statistics in testing too. For the other
methods none is published; they use part classification's (base rate 0.01, batch 1024, 90 epochs). The
paper's top-1 (percent), linear and attentive: DeiT 81.8 (its own classifier), MoCo v3 76.2 and 77.0,
DINO 77.3 and 77.8, BEiT 41.8 and 51.9, MAE 67.8 and 74.2, CAE 70.4 and 77.1, iBOT 79.5 and 79.8.
"""

from ml_collections import ConfigDict

from jaxpart.config import object_config
from jaxpart.runs.paper import METHODS


def get_config(variant: str | None = None) -> ConfigDict:
    """Variants: none, or a method."""
    return object_config(variant, tuple(METHODS))
