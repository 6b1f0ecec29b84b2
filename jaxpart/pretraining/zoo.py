"""The package's small encoders, and how to rebuild them: python -m jaxpart.pretraining.zoo --rebuild

One per method, trained on the same drawn critters, some for more epochs than others, with the bundled
recipe of configs/pretrain/METHOD.py. They are stored in half precision; `encoder.json` records what that
costs, the configuration, seed, commit and loss curve.
"""

from __future__ import annotations

from jaxpart import terminal

terminal.begin(__name__)

import argparse
import json
import pathlib
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpart import config as configs
from jaxpart import devices
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.loading import (
    describe,
    load_encoder,
    make_encoder,
    write_encoder,
)
from jaxpart.encoders.weights import arrays_of
from jaxpart.errors import JaxpartError
from jaxpart.io.files import write_folder
from jaxpart.pretraining.curves import draw
from jaxpart.pretraining.decoders import load_decoder, write_decoder
from jaxpart.pretraining.pool import pool_supply
from jaxpart.pretraining.run import draw_pool, pretrain
from jaxpart.pretraining.validation import levelled_off
from jaxpart.runs.paper import METHODS
from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import WorkDir
from jaxpart.zoo import BUNDLED

LIMIT = 4_000_000
"""Maximum bytes per encoder."""


def recipe_of(method: str) -> Any:
    """The recipe of a method on critters."""
    return runpy.run_path(configs.locate(f"configs/pretrain/{method}.py"))["get_config"]()


def halved(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in half precision."""
    return {path: np.asarray(array, np.float16) for path, array in arrays.items()}


def cost_of_halving(whole: Encoder, half: Encoder) -> dict[str, float]:
    """Largest and mean change of the tokens of noise images in half precision, in standard deviations."""
    size = whole.config.image_size
    images = np.random.default_rng(0).integers(0, 256, (16, *size, 3)).astype(np.uint8)
    a, b = (np.asarray(e(e.normalize(jnp.asarray(images)))["tokens"]) for e in (whole, half))
    difference, scale = np.abs(a - b), a.std()
    return {
        "largest": float(f"{difference.max() / scale:.3g}"),
        "typical": float(f"{difference.mean() / scale:.3g}"),
    }


def store(source: pathlib.Path, target: pathlib.Path) -> int:
    """Rewrites an encoder's folder in half precision; returns its bytes.

    Raises:
      JaxpartError: It takes more than `LIMIT`, or `target` cannot be written.
    """
    document, config = describe(source)
    whole = load_encoder(source)
    arrays = halved(arrays_of(whole.vit))
    half = make_encoder(whole.name, config, whole.preprocessing, arrays, digest="", trained=True)

    def write(folder: pathlib.Path) -> None:
        about = {
            "pretraining": document["pretraining"],
            "storage": {"dtype": "float16", "change_of_tokens": cost_of_halving(whole, half)},
        }
        if "decoder" in document:
            decoder: Any = load_decoder(source)
            about |= write_decoder(folder, decoder.config, halved(arrays_of(decoder)))
        write_encoder(folder, whole.name, config, whole.preprocessing, arrays, about)
        for marker in folder.rglob("commit_success.txt"):
            marker.unlink()  # Orbax's, for storage without renaming; it names a path of this machine
        size = bytes_of(folder)
        if size > LIMIT:
            raise JaxpartError(
                f"{target} would take {size} bytes, more than {LIMIT}; make it smaller"
            )

    write_folder(target, write)
    return bytes_of(target)


def bytes_of(folder: pathlib.Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rebuild(
    methods: Sequence[str],
    zoos: Mapping[int, pathlib.Path],
    progress: Progress,
    *,
    epochs: int | None = None,
    max_steps: int | None = None,
) -> None:
    """Trains encoders and puts them into zoos.

    There is a zoo for each seed of weights, order, views and masks; the images stay the same.

    Raises:
      JaxpartError: An encoder cannot be stored.
    """
    recipes = {method: recipe_of(method) for method in methods}
    pool = draw_pool(recipes[methods[0]], progress)  # all recipes name the same images
    for method, config in recipes.items():
        if epochs is not None:
            config.epochs = epochs
        for seed, zoo in zoos.items():
            config.seed = seed
            supply = pool_supply(pool, config.batch_size, seed)
            with tempfile.TemporaryDirectory(prefix=f"jaxpart-{method}-") as folder:
                workdir = WorkDir(pathlib.Path(folder), json.loads(config.to_json_best_effort()))
                results = pretrain(config, workdir, progress, supply=supply, max_steps=max_steps)
                workdir.finish(results)
                size = store(pathlib.Path(folder) / "encoder", zoo / method)
            loss = results["curve"]["loss"]
            progress.say(
                f"{method}: {results['images_seen']} images in {results['seconds']:.0f} s, loss "
                f"{loss[0]} to {loss[-1]}, {size / 1e6:.2f} MB in {zoo / method}"
            )
        jax.clear_caches()


def _list(zoo: pathlib.Path, target: pathlib.Path | None) -> None:
    """Prints the images seen and the validation of a zoo's encoders, and plots them to a file."""
    curves = {}
    for method, name in METHODS.items():
        if not (zoo / method).is_dir():
            continue
        run = describe(zoo / method)[0].get("pretraining")
        if run is None:
            print(f"{method}: not pretrained by jaxpart")
            continue
        line = f"{method}: {run['images_seen']} images, loss {run['curve']['loss'][-1]}"
        if validation := run["validation"]:
            batch = run["config"]["batch_size"]
            curves[name] = validation | {"images": [batch * step for step in validation["step"]]}
            line += (
                f", kinds {100 * validation['kinds'][-1]:.1f} %, AP {100 * validation['parts'][-1]:.1f}, "
                f"rank {validation['rank'][-1]:.1f}"
                + (", levelled off" if levelled_off(validation) else ", not levelled off")
            )
        print(line)
    if target is not None:
        if not curves:
            raise JaxpartError(f"no encoder in {zoo} holds validation curves; rebuild one")
        draw(curves, target)


@terminal.entry_point
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxpart.pretraining.zoo", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--rebuild",
        nargs="*",
        metavar="METHOD",
        help=f"retrain these methods; all if none are named: {', '.join(METHODS)}",
    )
    parser.add_argument(
        "--seed",
        type=terminal.count(0),
        nargs="+",
        default=[0],
        help="training seeds; the bundled encoders use 0; several go to OUT/seed0, OUT/seed1, …",
    )
    parser.add_argument(
        "--epochs", type=terminal.count(2), help="length of every run, instead of the recipe's"
    )
    parser.add_argument("--out", type=pathlib.Path, default=BUNDLED, help="folder of the zoo")
    parser.add_argument(
        "--max-steps", type=terminal.count(1), help="stop every run early, for a trial run"
    )
    parser.add_argument(
        "--draw", type=pathlib.Path, metavar="FILE", help="plot their validation curves: .png, .svg"
    )
    args = parser.parse_args(arguments)
    if args.draw and args.draw.suffix not in (".png", ".svg"):
        raise JaxpartError(f"--draw {args.draw} must end in .png or .svg")
    if args.rebuild is None:
        _list(args.out, args.draw)
        return 0
    unknown = [method for method in args.rebuild if method not in METHODS]
    if unknown:
        raise JaxpartError(f"there is no method {unknown[0]!r}; choose from {', '.join(METHODS)}")
    if args.max_steps and args.out == BUNDLED:
        raise JaxpartError(
            "--max-steps would replace the package's encoders by barely trained ones; state --out"
        )
    several = len(args.seed) > 1
    if several and args.out == BUNDLED:
        raise JaxpartError("the package holds one seed; state --out for several")
    if several and args.draw:
        raise JaxpartError("--draw plots one zoo; run it afterwards with --out OUT/seed0")
    devices.start()
    zoos = {seed: args.out / f"seed{seed}" if several else args.out for seed in args.seed}
    rebuild(
        args.rebuild or list(METHODS),
        zoos,
        Progress(),
        epochs=args.epochs,
        max_steps=args.max_steps,
    )
    if args.draw:
        _list(args.out, args.draw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
