"""Compares an encoder with PyTorch, stage by stage on the same images."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import load_encoder, read_about
from jaxpart.errors import JaxpartError
from jaxpart.io.files import path_of
from jaxpart.io.modules import library
from jaxpart.runs.progress import Progress
from jaxpart.runs.table import Section, sections_text
from jaxpart.verify.comparing import TOLERANCE, Difference, compare
from jaxpart.verify.diagnosis import Finding, diagnose
from jaxpart.verify.granted import Granted, taken_for_granted
from jaxpart.verify.images import compare_pixels, pixels, read_images, stated_normalization
from jaxpart.verify.reference import load_reference, takes_grid
from jaxpart.verify.stages import Stages, run, stage_names
from jaxpart.verify.torch_stages import run_reference

_NOT_COMPARED = "not compared: "


@dataclasses.dataclass(frozen=True)
class SizeReport:
    """The comparison at one image size.

    Attributes:
      size: (height, width) in pixels.
      stages: Every stage, in the order of computation.
      findings: What the reference does differently, if a stage differs.
      explained: Whether the findings explain all differences.
    """

    size: tuple[int, int]
    stages: Sequence[Difference]
    findings: Sequence[Finding]
    explained: bool

    def first_departing(self, tolerance: float) -> str | None:
        """The first stage that differs."""
        return next((stage.stage for stage in self.stages if stage.departs(tolerance)), None)


@dataclasses.dataclass(frozen=True)
class EncoderReport:
    """The comparison of an encoder.

    Attributes:
      about: The files, digests and images that were compared.
      tolerance: Largest absolute error of equal stages, see `Difference.departs`.
      sizes: One report for each image size.
      granted: The assumptions of the comparison.
    """

    about: Mapping[str, Any]
    tolerance: float
    sizes: Sequence[SizeReport]
    granted: Sequence[Granted]

    @property
    def same(self) -> bool:
        """Whether no stage differs."""
        return all(size.first_departing(self.tolerance) is None for size in self.sizes)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            **self.about,
            "tolerance": self.tolerance,
            "same": self.same,
            "granted": [dataclasses.asdict(assumption) for assumption in self.granted],
            "sizes": [
                {
                    "size": list(size.size),
                    "first_departing": size.first_departing(self.tolerance),
                    "stages": [stage.as_json() for stage in size.stages],
                    "mistakes": [dataclasses.asdict(finding) for finding in size.findings],
                    "explained": size.explained,
                }
                for size in self.sizes
            ],
        }

    def as_text(self) -> str:
        """The assumptions, and for each size a table and its conclusions."""
        rows = [
            (assumption.name, f"{assumption.value}; {assumption.note}")
            for assumption in self.granted
        ]
        granted = sections_text(None, [Section(("assumptions", ""), rows)])
        return "\n".join([granted, *(self._size_text(size) for size in self.sizes)])

    def _size_text(self, size: SizeReport) -> str:
        rows = []
        for stage in size.stages:
            departs = stage.departs(self.tolerance)
            values = ((stage.error, ".1e"), (stage.cosine, ".8f"), (stage.scale, ".2g"))
            numbers = ["" if value is None else format(value, form) for value, form in values]
            note = "; ".join(filter(None, ["DIFFERS" if departs else "", stage.note]))
            rows.append((stage.stage, *numbers, note))
        columns = ("stage", "largest error", "least cosine", "size", "")
        title = f"{size.size[0]} × {size.size[1]} pixels, tolerance {self.tolerance:g}"
        lines = [sections_text(title, [Section(columns, rows)])]
        first = size.first_departing(self.tolerance)
        if first is None:
            left_out = [stage.stage for stage in size.stages if stage.error is None]
            unchecked = [
                f"{assumption.name} not checked"
                for assumption in self.granted
                if not assumption.checked
            ]
            remarks = [f"not compared: {', '.join(left_out)}"] if left_out else []
            note = "; ".join(remarks + unchecked)
            lines.append(f"same: no stage differs{f' ({note})' if note else ''}")
        else:
            lines.append(f"NOT THE SAME: the first stage that differs is {first}")
        for finding in size.findings:
            lines.append(
                f"{finding.sentence} (largest error up to {finding.stage}: {finding.error_before:.1e}, "
                f"with it {finding.error_after:.1e})"
            )
            lines += [f"  or, indistinguishable on these images: {other}" for other in finding.also]
        if first is not None and not size.explained:
            lines.append(
                "no known mistake explains the whole difference; inspect that stage of the reference"
            )
        return "\n".join(lines)


def verify_encoder(
    checkpoint: str | pathlib.Path,
    folder: str | pathlib.Path,
    reference: str,
    *,
    sizes: Sequence[tuple[int, int]] = (),
    images: str | pathlib.Path | None = None,
    count: int = 4,
    tolerance: float = TOLERANCE,
    named: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> EncoderReport:
    """Compares PyTorch and Flax on the same images.

    Args:
      checkpoint: The PyTorch file.
      folder: The encoder converted from it.
      reference: The PyTorch model, see `jaxpart.verify.reference`.
      sizes: (height, width) in pixels; by default the encoder's.
      images: A folder of images; by default generated images.
      count: Number of images.
      tolerance: Largest absolute error of equal stages, see `Difference.departs`.
      named: Submodules of the reference by stage, if the automatic choice is wrong.
      progress: Shows the progress.

    Raises:
      JaxpartError: A file is missing or belongs to another encoder, PyTorch is not installed, or the
        reference cannot be created or run.
    """
    checkpoint = pathlib.Path(checkpoint)
    encoder, source = load_encoder(folder), read_about(folder).get("source", {})
    digest = _check_source(checkpoint, path_of(folder), source)
    trained_at = tuple(source.get("trained_at", encoder.config.image_size))
    module = load_reference(
        reference,
        checkpoint,
        image_size=(trained_at[0], trained_at[1]),
        checkpoint_key=source.get("checkpoint_key"),
        taken_off=source.get("taken_off", ()),
    )
    stated = stated_normalization(module, reference, checkpoint)
    ours = encoder.preprocessing.mean, encoder.preprocessing.std
    files = read_images(images, count)
    reports = []
    sizes = sizes or [encoder.config.image_size]
    with (progress or Progress(shown=False)).bar("comparing, image sizes", len(sizes)) as advance:
        for size in sizes:
            encoder.config.grid_of(*size)
            image_pixels = pixels(files, size)
            inputs = np.asarray(encoder.normalize(jax.numpy.asarray(image_pixels)))
            before = compare_pixels(files, image_pixels, inputs, ours, stated)
            theirs, absent = run_reference(
                module, inputs, depth=encoder.config.depth, named=named or {}
            )
            reports.append(_compare_size(encoder, size, inputs, theirs, absent, before, tolerance))
            advance(1)
    about = {
        "checkpoint": str(checkpoint),
        "sha256": digest,
        "encoder": {"folder": str(folder), "name": encoder.name, "digest": encoder.digest},
        "reference": reference,
        "images": list(files),
        "versions": {"jax": jax.__version__, "torch": library("torch", reference).__version__},
    }
    granted = taken_for_granted(
        encoder, (trained_at[0], trained_at[1]), stated, reference_takes_grid=takes_grid(reference)
    )
    return EncoderReport(about, tolerance, reports, granted)


def _check_source(checkpoint: pathlib.Path, folder: pathlib.Path, source: Mapping[str, Any]) -> str:
    if not checkpoint.is_file():
        fault = "is a folder" if checkpoint.is_dir() else "does not exist"
        raise JaxpartError(f"{checkpoint} {fault}; give the PyTorch checkpoint file")
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if source.get("sha256", digest) != digest:
        raise JaxpartError(
            f"{folder} was not converted from {checkpoint} but from another {source.get('file')}; "
            f"convert this file, or pass that one"
        )
    return digest


def _compare_size(
    encoder: Encoder,
    size: tuple[int, int],
    inputs: np.ndarray,
    theirs: Stages,
    absent: Mapping[str, str],
    before: Sequence[Difference],
    tolerance: float,
) -> SizeReport:
    ours = run(encoder, inputs)
    stages, comparable = list(before), dict[str, np.ndarray]()
    for name in stage_names(encoder):
        if name == "tokens" and not encoder.config.final_norm and "tokens" not in theirs:
            continue  # the tokens are the last block's output
        if name not in theirs:
            stages.append(Difference(name, None, note=_NOT_COMPARED + absent.get(name, "")))
            continue
        value = _same_axes(theirs[name], ours[name])
        if (
            name not in ("embed", "tokens")
            and not name.startswith("block")
            and (value.shape != ours[name].shape)
        ):
            note = f"its shape in the reference is {list(value.shape)}"
            stages.append(Difference(name, None, note=_NOT_COMPARED + note))
            continue
        comparable[name] = value
        stages.append(compare(name, value, ours[name]))
    after = stages[len(before) :]  # both sides have the same inputs
    if not any(stage.departs(tolerance) for stage in after):
        return SizeReport(size, stages, (), True)
    findings, explained = diagnose(encoder, inputs, comparable, ours, tolerance)
    return SizeReport(size, stages, findings, explained)


def _same_axes(value: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Transposes tokens that a reference stores as [token, batch, width], like OpenAI's CLIP."""
    swapped = value.ndim == 3 and value.shape != ours.shape
    if swapped and value.swapaxes(0, 1).shape == ours.shape:
        return value.swapaxes(0, 1)
    return value
