"""`python -m jaxpart.export WORKDIR|ENCODER OUT`: exports features and labels for other tools.

For a run (its work directory), exports the views that its tasks used, on its data sets; for a converted
encoder, those that --data and --views name. Cached features are not computed again.

`python -m jaxpart.export weights ENCODER OUT.safetensors --layout timm|transformers|original`: its weights.

`python -m jaxpart.export views OUT --data NAME`: the items themselves, to compute features elsewhere.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import importlib.metadata
import pathlib
import sys
from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from jaxpart import devices
from jaxpart.config import part_config
from jaxpart.encoders.configured import check_runnable, configured_encoder, permutation_seed
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.errors import JaxpartError
from jaxpart.export import views, weights
from jaxpart.export.formats import FORMATS, check_format, write_features
from jaxpart.export.tables import VIEWS, LabelledView, find_views
from jaxpart.features import extract as features
from jaxpart.features.representations import available, check_representations
from jaxpart.io.files import path_of
from jaxpart.runs.config_checks import read_config
from jaxpart.runs.progress import Progress
from jaxpart.runs.unlike import read_facts
from jaxpart.runs.workdir import check_same_weights, check_unchanged

_VIEWS_OF = {
    "retrieval": ("parts",),
    "classification": ("parts_train", "parts_test"),
    "object_classification": ("images_train", "images_test"),
}
"""The views that each task uses."""
_FORMAT = "jaxpart features 1"


def _configuration(args: argparse.Namespace) -> tuple[ConfigDict, tuple[str, ...]]:
    """The configuration of the source, and the views to export."""
    path = path_of(args.source)
    if (path / "encoder.json").is_file():
        if not args.data:
            raise JaxpartError(
                "name the data: --data NAME and --root FOLDER, as in --data cub --root DATA"
            )
        config = part_config("", "paper", projector=False)
        config.encoder.checkpoint = str(path)
        views: tuple[str, ...] = ("parts",)
    elif (path / "config.json").is_file():
        config = ConfigDict(read_config(path / "config.json"))
        views = tuple(v for task in config.tasks for v in _VIEWS_OF.get(task, ()))
    else:
        raise JaxpartError(
            f"{path} is neither the work directory of a run (config.json) nor a converted encoder "
            f"(encoder.json)"
        )
    if args.data:
        config.data.sets = tuple(args.data)
    if args.root:
        config.data.root = args.root
    if args.cache:
        config.features.cache = args.cache
    return config, tuple(args.views or views)


def _names(args: argparse.Namespace, config: ConfigDict, encoder: FrozenEncoder) -> tuple[str, ...]:
    """The representations to export: those requested, or the run's vectors, or all vectors."""
    if args.representations:
        return tuple(args.representations)
    tasks = [config[task] for task in config.tasks if task in _VIEWS_OF]
    if (path_of(args.source) / "config.json").is_file():
        names = [
            name
            for task in tasks
            for options in (task, task.get("linear", {}))
            for name in options.get("representations", ())
        ]
        return tuple(dict.fromkeys(names))
    known = ("embedding", "cls_token", "projection")
    return tuple(name for name in known if name in available(encoder))


def export(args: argparse.Namespace) -> Iterator[pathlib.Path]:
    """Writes a file for each view; yields its path."""
    config, kinds = _configuration(args)
    progress = Progress(shown=devices.is_main())
    check_runnable(config, allowed=args.run_functions)
    encoder = configured_encoder(config)
    narrow = narrowed(encoder)
    names = _names(args, config, encoder)
    size = args.pixels or encoder.image_size[0]
    shapes = _shapes(narrow, names)
    check_format(args.format, shapes)
    permuted = permutation_seed(config)
    with progress.bar("opening", None):
        views = list(
            find_views(kinds, config.data, size=size, on_error=args.on_error, permuted=permuted)
        )
    if not views:
        raise JaxpartError(f"name what to export: --views {'|'.join(VIEWS)}")
    _check_unchanged(path_of(args.source), encoder, views)
    for view in views:
        yield _export_view(encoder, narrow, view, names, config, args, progress)


def _check_unchanged(
    run: pathlib.Path, encoder: FrozenEncoder, views: Sequence[LabelledView]
) -> None:
    """Raises `JaxpartError` if the encoder or the data of a run have changed since."""
    identity = read_facts(run, "").identity
    if encoder.digest:
        check_same_weights(run, identity.get("the encoder", encoder.digest), encoder.digest)
    task_of = {kind: task for task, kinds in _VIEWS_OF.items() for kind in kinds}
    for view in views:
        task = f"{view.source.info.name}/{task_of[view.kind]}"
        check_unchanged(run, identity, task, view.source)


def _shapes(encoder: FrozenEncoder, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        tokens = name.rpartition("/")[2] == "tokens"
        shapes |= check_representations(encoder, [name], tokens=tokens)
    return shapes


def _export_view(
    encoder: FrozenEncoder,
    narrow: FrozenEncoder,
    view: LabelledView,
    names: Sequence[str],
    config: ConfigDict,
    args: argparse.Namespace,
    progress: Progress,
) -> pathlib.Path:
    extracted = features.extract(
        narrow, view.view, names, config.features, progress, batch_size=args.batch_size
    )
    if extracted.skipped:
        progress.say(
            f"{view.name}: {len(extracted.skipped)} skipped; the first: {extracted.skipped[0]}"
        )
    metadata = {
        "format": _FORMAT,
        "jaxpart": importlib.metadata.version("jaxpart"),
        "encoder": encoder.name,
        "encoder_digest": encoder.digest,
        "trained": encoder.trained,
        "encoder_precision": encoder.precision,
        "data": view.view.data,
        "split": view.source.info.split,
        "view": view.view.kind,
        "pixels": view.view.size,
        "representations": list(names),
        "precision": config.features.precision,
        "classes": list(view.classes),
    }
    if view.view.permuted is not None:
        metadata["patches"] = f"permuted by seed {view.view.permuted}"
    if "projection" in names and narrow.identity != encoder.identity:
        full, kept = (
            check_representations(e, ["projection"])["projection"] for e in (encoder, narrow)
        )
        metadata["projection"] = (
            f"{kept[0]} channels with the inner products, so the cosines, of the projector's {full[0]}"
        )
    path = path_of(args.out) / f"{view.name}.{args.format}"
    if devices.is_main():
        arrays = {name: vectors.whole() for name, vectors in extracted.features.items()}
        ids = [view.view.ids[i] for i in extracted.kept]
        with progress.bar(f"{view.name}: writing", None):
            write_features(path, arrays, view.labels[extracted.kept], ids, metadata)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxpart.export",
        description=__doc__,
        epilog="example: python -m jaxpart.export checkpoints/ibot features --data cub --root DATA",
    )
    parser.add_argument("source", metavar="WORKDIR|ENCODER", help="a run or a converted encoder")
    parser.add_argument("out", metavar="OUT", help="output folder, which is created")
    parser.add_argument("--format", default="safetensors", help=f"{', '.join(FORMATS)}")
    parser.add_argument("--data", nargs="+", metavar="NAME", help="data sets")
    parser.add_argument("--root", metavar="FOLDER", help="folder that holds them")
    parser.add_argument("--views", nargs="+", metavar="VIEW", help=", ".join(VIEWS))
    parser.add_argument(
        "--representations", nargs="+", metavar="NAME", help="embedding, block3/tokens…"
    )
    parser.add_argument(
        "--pixels", type=terminal.count(1), metavar="N", help="default: the encoder's native size"
    )
    parser.add_argument("--cache", help="off, ram or disk, instead of the configuration's")
    parser.add_argument("--batch-size", type=terminal.count(1), default=64, metavar="N")
    parser.add_argument(
        "--on-error", default="raise", choices=("raise", "skip"), help="images that cannot be read"
    )
    parser.add_argument(
        "--run-functions", action="store_true", help="run a function that the run's encoder is"
    )
    return parser


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["weights"]:
        return weights.main(arguments[1:])
    if arguments[:1] == ["views"]:
        return views.main(arguments[1:])
    args = _parser().parse_args(arguments)
    devices.start()
    for path in export(args):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
