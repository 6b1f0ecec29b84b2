"""Publicly released checkpoints by name: `python -m convert FAMILY @NAME OUT`.

Checksums are given only where the publisher states them: torch.hub's file names end with the first eight
digits of the SHA-256, and Hugging Face shows all digits. MAE's authors give six digits of an MD5, which
prove little and are omitted. No publisher states exact sizes, so downloads are checked against the length
that the server sends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxpart.errors import JaxpartError


@dataclasses.dataclass(frozen=True)
class Release:
    """A published checkpoint file.

    Attributes:
      name: Its name after "@".
      family: One of `convert.families.FAMILIES`.
      url: Address of the file; "" if it cannot be downloaded automatically.
      licence: Licence of the weights.
      citation: The paper, by its arXiv number.
      data: Its training data.
      epochs: Training epochs, as its authors count.
      layout: Its naming scheme.
      checkpoint_key: The network in a file that holds several.
      sha256: Published leading digits of its SHA-256.
      by_hand: How to get it, if it cannot be downloaded automatically.
    """

    name: str
    family: str
    url: str
    licence: str
    citation: str
    data: str
    epochs: str
    layout: str = "original"
    checkpoint_key: str | None = None
    sha256: str = ""
    by_hand: str = ""

    @property
    def summary(self) -> str:
        """A one-line summary."""
        epochs = f"{self.epochs} epochs" if self.epochs.isdigit() else self.epochs
        trained = ", ".join(filter(None, (self.data, epochs)))
        access = f"by hand: {self.by_hand}" if self.by_hand else self.checked
        return f"{trained}; {self.licence}; {self.citation}; {access}"

    @property
    def checked(self) -> str:
        """How the download is verified, in addition to the length that the server sends."""
        return f"SHA-256 {self.sha256[:8]}…" if self.sha256 else "no checksum published"


_META = "https://dl.fbaipublicfiles.com"
_IBOT = "https://lf3-nlp-opensource.bytetos.com/obj/nlp-opensource/archive/2022/ibot"
_HUB = "https://huggingface.co"
_1K, _22K, _LVD = "ImageNet-1k", "ImageNet-22k", "LVD-142M"


def _deit(name: str, file: str, sha256: str = "", epochs: str = "300", paper: str = "") -> Release:
    url, citation = f"{_META}/deit/{file}", paper or "arXiv 2012.12877"
    return Release(name, "deit", url, "Apache-2.0", citation, _1K, epochs, sha256=sha256)


def _dino(name: str, folder: str, *, full: bool, epochs: str) -> Release:
    file = f"{folder}_full_checkpoint.pth" if full else f"{folder}.pth"
    url, key = f"{_META}/dino/{folder}/{file}", "teacher" if full else None
    citation = "arXiv 2104.14294"
    return Release(name, "dino", url, "Apache-2.0", citation, _1K, epochs, checkpoint_key=key)


def _ibot(name: str, folder: str, *, full: bool, epochs: str) -> Release:
    file = "checkpoint.pth" if full else "checkpoint_teacher.pth"
    url, key = f"{_IBOT}/{folder}/{file}", "teacher" if full else None
    citation = "arXiv 2111.07832"
    return Release(name, "ibot", url, "Apache-2.0", citation, _1K, epochs, checkpoint_key=key)


def _mocov3(size: str) -> Release:
    url = f"{_META}/moco-v3/vit-{size}-300ep/vit-{size}-300ep.pth.tar"
    return Release(
        f"mocov3_vit{size}16", "mocov3", url, "CC BY-NC 4.0", "arXiv 2104.02057", _1K, "300"
    )


def _mae(size: str, letter: str, patch: int) -> Release:
    url = f"{_META}/mae/pretrain/mae_pretrain_vit_{size}.pth"
    name = f"mae_vit{letter}{patch}"
    return Release(name, "mae", url, "CC BY-NC 4.0", "arXiv 2111.06377", _1K, "1600")


def _dinov2(letter: str, *, registers: bool) -> Release:
    model = f"dinov2_vit{letter}14"
    file = f"{model}_reg4_pretrain.pth" if registers else f"{model}_pretrain.pth"
    name, url = f"{model}_reg" if registers else model, f"{_META}/dinov2/{model}/{file}"
    citation = "arXiv 2309.16588" if registers else "arXiv 2304.07193"
    return Release(name, "dinov2", url, "Apache-2.0", citation, _LVD, "")


def _data2vec(letter: str, folder: str) -> Release:
    url = f"{_META}/fairseq/data2vec/data2vec_vision/{folder}/checkpoint-799.pth"
    epochs = folder.rpartition("_")[2]
    name, citation = f"data2vec_vit{letter}16", "arXiv 2202.03555"
    return Release(name, "data2vec", url, "CC BY-NC", citation, _1K, epochs)


def _siglip(family: str, repository: str, citation: str) -> Release:
    url = f"{_HUB}/google/{repository}/resolve/main/model.safetensors"
    samples, layout = "40 billion samples", "transformers"
    return Release(
        f"{family}_vitb16", family, url, "Apache-2.0", citation, "WebLI", samples, layout
    )


_LIST = (
    _deit("deit_vitt16", "deit_tiny_patch16_224-a1311bcf.pth", "a1311bcf"),
    _deit("deit_vits16", "deit_small_patch16_224-cd65a155.pth", "cd65a155"),
    _deit("deit_vitb16", "deit_base_patch16_224-b5f2ef4d.pth", "b5f2ef4d"),
    _deit("deit_distilled_vitb16", "deit_base_distilled_patch16_224-df68dfff.pth", "df68dfff"),
    _deit("deit3_vitb16", "deit_3_base_224_1k.pth", epochs="800", paper="arXiv 2204.07118"),
    _mocov3("s"),
    _mocov3("b"),
    _dino("dino_vits16", "dino_deitsmall16_pretrain", full=True, epochs="800"),
    _dino("dino_vits8", "dino_deitsmall8_pretrain", full=True, epochs="800"),
    _dino("dino_vitb16", "dino_vitbase16_pretrain", full=True, epochs="400"),
    _dino("dino_vitb8", "dino_vitbase8_pretrain", full=True, epochs="300"),
    _dino("dino_vitb16_backbone", "dino_vitbase16_pretrain", full=False, epochs="400"),
    _ibot("ibot_vits16", "vits_16", full=True, epochs="800"),
    _ibot("ibot_vitb16", "vitb_16_rand_mask", full=True, epochs="400"),
    _ibot("ibot_vitb16_backbone", "vitb_16_rand_mask", full=False, epochs="400"),
    _ibot("ibot_vitl16", "vitl_16_rand_mask", full=True, epochs="250"),
    _mae("base", "b", 16),
    _mae("large", "l", 16),
    _mae("huge", "h", 14),
    Release(
        "beit_vitb16_finetuned",
        "beit",
        "https://github.com/addf400/files/releases/download/v1.0/"
        "beit_base_patch16_224_pt22k_ft22kto1k.pth",
        "MIT",
        "arXiv 2106.08254",
        f"{_22K}, fine-tuned on it and on {_1K}",
        "150",
    ),
    Release(
        "beit_vitb16",
        "beit",
        "",
        "MIT",
        "arXiv 2106.08254",
        _1K,
        "800",
        by_hand="the paper's BEiT, pretrained on ImageNet-1k alone, has no public download link: ask its "
        "authors (https://github.com/JiePKU/understand-ssl-part-aware) or pretrain it "
        "(https://github.com/microsoft/unilm/tree/master/beit)",
    ),
    Release(
        "cae_vitb16",
        "cae",
        "",
        "not stated",
        "arXiv 2202.03026",
        _1K,
        "1600",
        by_hand="CAE is on Google Drive, which asks for confirmation of large downloads: fetch "
        "cae_base_1600ep.pth in a browser (https://github.com/Atten4Vis/CAE, or "
        "https://drive.google.com/file/d/1CJAjBN0F7-Eijmv2ZmtwpZ6PS_SRcb7I)",
    ),
    *(_dinov2(letter, registers=registers) for registers in (False, True) for letter in "sblg"),
    Release(
        "clip_vitb16",
        "clip",
        f"{_HUB}/openai/clip-vit-base-patch16/resolve/main/pytorch_model.bin",
        "MIT",
        "arXiv 2103.00020",
        "WIT-400M",
        "32",
        "transformers",
    ),
    Release(
        "openclip_vitb16_laion2b",
        "openclip",
        f"{_HUB}/laion/CLIP-ViT-B-16-laion2B-s34B-b88K/resolve/main/open_clip_pytorch_model.bin",
        "MIT",
        "arXiv 2212.07143",
        "LAION-2B",
        "34 billion samples",
    ),
    _siglip("siglip", "siglip-base-patch16-224", "arXiv 2303.15343"),
    _siglip("siglip2", "siglip2-base-patch16-224", "arXiv 2502.14786"),
    *(
        Release(
            f"dinov3_vit{letter}16",
            "dinov3",
            "",
            "DINOv3 License",
            "arXiv 2508.10104",
            "LVD-1689M",
            "",
            by_hand="Meta provides DINOv3 on request, once you accept its licence: ask at "
            f"https://ai.meta.com/resources/models-and-libraries/dinov3-downloads for ViT-{letter.upper()}",
        )
        for letter in "sbl"
    ),
    Release(
        "ijepa_vith14",
        "ijepa",
        f"{_META}/ijepa/IN1K-vit.h.14-300e.pth.tar",
        "CC BY-NC 4.0",
        "arXiv 2301.08243",
        _1K,
        "300",
        checkpoint_key="target_encoder",
    ),
    _data2vec("b", "base_800"),
    _data2vec("l", "large_1600"),
    Release(
        "eva02_vitb14",
        "eva02",
        f"{_HUB}/Yuxin-CV/EVA-02/resolve/main/eva02/pt/eva02_B_pt_in21k_p14.pt",
        "MIT",
        "arXiv 2303.11331",
        _22K,
        "150",
        sha256="e5950aad2b263ed6c5410dc6c73af3a9c0201e95d14db7e17f527251d792fa24",
    ),
    Release(
        "aimv2_vitl14",
        "aimv2",
        f"{_HUB}/apple/aimv2-large-patch14-224/resolve/main/model.safetensors",
        "Apple model licence",
        "arXiv 2411.14402",
        "12 billion image-text pairs",
        "",
    ),
    Release(
        "augreg_vitb16",
        "augreg",
        "https://storage.googleapis.com/vit_models/augreg/"
        "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0.npz",
        "Apache-2.0",
        "arXiv 2106.10270",
        _22K,
        "300",
    ),
)

RELEASES: Mapping[str, Release] = {release.name: release for release in _LIST}
"""Every release by name, the paper's families first."""


def find_release(name: str, family: str) -> Release:
    """The release of this name.

    Raises:
      JaxpartError: There is none, or it belongs to another family.
    """
    if name not in RELEASES:
        near = [release.name for release in releases_of(family)] or list(RELEASES)
        raise JaxpartError(f"there is no release @{name}; choose from @{', @'.join(near)}")
    release = RELEASES[name]
    if release.family != family:
        raise JaxpartError(
            f"@{name} is of the family {release.family}, not {family}: python -m convert "
            f"{release.family} @{name} OUT"
        )
    return release


def releases_of(family: str) -> list[Release]:
    """All releases of a family."""
    return [release for release in RELEASES.values() if release.family == family]
