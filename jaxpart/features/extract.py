"""Extracts frozen features: every fixed view of an item is encoded once."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from jaxpart import devices
from jaxpart.data.views import View
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.features.cache import PRECISIONS, SHARD_BYTES, Cache, Shard, open_cache
from jaxpart.features.pixels import PIXELS
from jaxpart.features.reading import take_rows
from jaxpart.features.representations import represent
from jaxpart.features.table import FeatureTable
from jaxpart.runs.progress import Progress

_BLOCK_VALUES = 1 << 20
"""Values of features copied at a time."""
_SECONDS_PER_SHARD = 60.0
"""Seconds between saves: an interrupted run loses no more than this."""

_step = jax.jit(represent, static_argnames="names")


class Features:
    """One representation of the items of a view, in order, in memory or on disk."""

    def __init__(self, shards: Sequence[Shard], ids: Sequence[str]) -> None:
        """Locates each item in the shards."""
        self._rows = [shard.rows for shard in shards]
        location: dict[str, tuple[int, int]] = {}
        for number, shard in enumerate(shards):
            for row, item in enumerate(shard.ids):
                location.setdefault(item, (number, row))
        self._location = np.array([location[item] for item in ids], np.int64).reshape(-1, 2)
        self.shape = (len(ids), *self._rows[0].shape[1:])
        self.dtype = self._rows[0].dtype

    def __getitem__(self, items: slice | Int[np.ndarray, "*rows"]) -> np.ndarray:
        """Features of some items, `[*rows, …]`; only these are read from disk."""
        indices = np.arange(len(self._location))[items]
        number, row = self._location[indices.reshape(-1)].T
        return take_rows(self._rows, number, row).reshape(*indices.shape, *self.shape[1:])

    def whole(self) -> np.ndarray:
        """All features as a new float32 array, without another copy in memory."""
        features = np.empty(self.shape, np.float32)
        step = max(1, _BLOCK_VALUES // max(1, math.prod(self.shape[1:])))
        for start in range(0, len(features), step):
            features[start : start + step] = self[start : start + step]
        return features


@dataclasses.dataclass(frozen=True)
class Extracted:
    """The features of a view.

    Attributes:
      features: The kept items' features, by representation.
      kept: Indices of the readable items.
      skipped: Errors of the other items.
      encoded: Number of items encoded now; the others were cached.
    """

    features: Mapping[str, Features]
    kept: Int[np.ndarray, " item"]
    skipped: Sequence[JaxpartError]
    encoded: int


def extract(
    encoder: FrozenEncoder,
    view: View,
    names: Sequence[str],
    config: Any,
    progress: Progress,
    *,
    batch_size: int,
) -> Extracted:
    """Features of a view, from the cache where available.

    Pixels are transferred as uint8 and normalised on the devices, over which each batch is sharded. The
    last batch is padded, so there is a single program; the next batch is read while the devices compute.

    `config` is the configuration's `features`; `batch_size` is rounded up to what the devices share
    evenly.

    Raises:
      JaxpartError: There are no images, they do not fit the encoder's patches, one cannot be read, a
        feature is NaN or infinite, or the cache cannot be written.
    """
    if not view.ids:
        raise JaxpartError(f"{view.data} has no images to encode; check the data options")
    if isinstance(encoder, FeatureTable) and (named := [name for name in names if name != PIXELS]):
        return _from_table(
            encoder, view, named, config, progress, batch_size, pixels=PIXELS in names
        )
    encoder.check_size(view.size, view.size)
    cache, addresses, shards, absent = _cached(encoder, view, names, config, progress)
    keys = _keys(cache, view)
    writer = _Writer(cache, addresses, PRECISIONS[config.precision])
    errors: dict[int, JaxpartError] = {}
    total = 0
    # Usually items lack all representations, or those that were not requested before.
    lacking = np.stack([absent[name] for name in names], axis=1)
    for pattern in np.unique(lacking[lacking.any(axis=1)], axis=0):
        missing = tuple(name for name, lacks in zip(names, pattern, strict=True) if lacks)
        numbers = np.flatnonzero((lacking == pattern).all(axis=1))
        first = {keys[number]: number for number in reversed(numbers.tolist())}
        numbers = np.array(sorted(first.values()))  # duplicate boxes are encoded once
        with progress.bar(f"encoding {view.data.split()[0]} ({view.kind})", len(numbers)) as bar:
            for done, rows in _encode(encoder, view, numbers, missing, batch_size, errors, bar):
                writer.add([keys[number] for number in done], rows)
                total += len(done)
        writer.close()
    for name in names:
        shards[name] += writer.written[name]
    failed = {keys[number] for number in errors}
    kept = np.array([i for i, key in enumerate(keys) if key not in failed], np.int64)
    if not len(kept):
        raise JaxpartError(f"no image of {view.data} can be read; the first: {errors[min(errors)]}")
    items = [keys[i] for i in kept]
    features = {name: Features(shards[name], items) for name in names}
    progress.say(
        f"{view.data.split()[0]} ({view.kind}): {total} images encoded, {len(kept) - total} from "
        f"cache; features: {cache.describe()}"
    )
    if config.precision == "bfloat16":
        progress.say(
            f"rounding to bfloat16 changes features by up to {writer.rounding:.1e} of the largest value"
        )
    return Extracted(features, kept, list(errors.values()), total)


def absent_items(
    encoder: FrozenEncoder, view: View, names: Sequence[str], config: Any, progress: Progress
) -> dict[str, tuple[Hashable, set[str]]]:
    """The items that `extract` would have to encode, since they are not cached.

    Returns:
      For each representation, its address in the cache and the keys of its missing items.
    """
    if isinstance(encoder, FeatureTable):
        names = [name for name in names if name == PIXELS]
    cache, addresses, _, absent = _cached(encoder, view, names, config, progress)
    keys = _keys(cache, view)
    return {
        name: (tuple(addresses[name].items()), set(itertools.compress(keys, absent[name])))
        for name in names
    }


def count_absent(
    encoder: FrozenEncoder, view: View, names: Sequence[str], config: Any, progress: Progress
) -> int:
    """Number of images of a view that `extract` would encode, see `absent_items`."""
    absent = absent_items(encoder, view, names, config, progress)
    return len(set().union(*(keys for _, keys in absent.values())))


def seconds_per_image(
    encoder: FrozenEncoder, size: int, names: Sequence[str], *, batch_size: int
) -> float:
    """Seconds per image, measured on the second of two batches; the first one compiles."""
    images = devices.round_up(batch_size)
    local = images // devices.num_processes() if encoder.jittable else images
    pixels = np.zeros((local, size, size, 3), np.uint8)
    start = 0.0
    for _ in range(2):
        start = time.monotonic()
        if encoder.jittable:
            out = _step(encoder, *devices.shard([pixels]), names=tuple(names))
        else:
            out = represent(encoder, jnp.asarray(pixels), names=tuple(names))
        jax.block_until_ready(out)
    return (time.monotonic() - start) / images


def _cached(
    encoder: FrozenEncoder, view: View, names: Sequence[str], config: Any, progress: Progress
) -> tuple[
    Cache, dict[str, dict[str, str]], dict[str, list[Shard]], dict[str, Bool[np.ndarray, " item"]]
]:
    """The cache and, for each representation, its address, its shards, and the items missing from them."""
    # An encoder without a digest may change unnoticed.
    cache = open_cache(config.cache if encoder.digest else "off", config.folder)
    addresses = {name: _address(encoder, view, name, config.precision) for name in names}
    shards: dict[str, list[Shard]] = {}
    absent: dict[str, np.ndarray] = {}
    keys = _keys(cache, view)
    for name in names:
        shards[name], complaints = cache.read(addresses[name])
        for complaint in complaints:
            progress.say(complaint)
        cached = set(itertools.chain.from_iterable(shard.ids for shard in shards[name]))
        absent[name] = devices.anywhere(np.array([key not in cached for key in keys]))
    return cache, addresses, shards, absent


def _keys(cache: Cache, view: View) -> Sequence[str]:
    return view.ids if cache.mode == "off" else view.keys


def _from_table(
    table: FeatureTable,
    view: View,
    names: Sequence[str],
    config: Any,
    progress: Progress,
    batch_size: int,
    *,
    pixels: bool,
) -> Extracted:
    """Features from a file, and the images' pixels if requested."""
    if pixels:
        extracted = extract(table, view, [PIXELS], config, progress, batch_size=batch_size)
    else:
        extracted = Extracted({}, np.arange(len(view.ids)), [], 0)
    ids = [view.ids[number] for number in extracted.kept]
    rows = table.rows(view, names, extracted.kept.tolist())
    features = {name: Features([Shard(ids, array)], ids) for name, array in rows.items()}
    return dataclasses.replace(extracted, features={**extracted.features, **features})


def _address(encoder: FrozenEncoder, view: View, name: str, precision: str) -> dict[str, str]:
    order = "" if view.permuted is None else f", patches permuted by seed {view.permuted}"
    if name == PIXELS:  # shared by all encoders
        source, order = {"encoder": "", "encoder_precision": "", "representation": name}, ""
    else:
        source = encoder.cache_key(name)
    return {
        **source,
        "data": view.data,
        "view": f"{view.kind} {view.size}{order}",
        "precision": precision,
    }


def orders(view: View, numbers: Sequence[int], patches: int) -> Int[np.ndarray, "item patch"]:
    """The permutation of each item's patches, drawn from the view's seed and the item.

    The published MAE code draws it in every forward pass, so no feature could be cached. Drawing it once
    per item gives retrieval the published distribution, and probes a single draw for all epochs.
    """

    def order(number: int) -> np.ndarray:
        item = f"{view.permuted} {view.kind} {view.ids[number]}"
        digest = hashlib.sha256(item.encode("utf-8", "surrogateescape")).digest()
        return np.random.default_rng(list(digest)).permutation(patches)

    permutations = np.array([order(number) for number in numbers], np.int32)
    return permutations.reshape(-1, patches)


def _encode(
    encoder: FrozenEncoder,
    view: View,
    numbers: Int[np.ndarray, " item"],
    names: tuple[str, ...],
    batch_size: int,
    errors: dict[int, JaxpartError],
    advance: Any,
) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """Indices and features of some items, batch by batch, skipping unreadable ones."""
    size = devices.round_up(batch_size)
    share = size // devices.num_processes()
    batches = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    local_batches = [batch[devices.process_index() * share :][:share] for batch in batches]
    images = view.read(np.concatenate(local_batches).tolist())
    patches = None if view.permuted is None else math.prod(encoder.grid_of(view.size, view.size))

    def finish(batch: np.ndarray, out: Any, good: Any) -> tuple[list[int], dict[str, np.ndarray]]:
        rows, readable = devices.fetch((out, good))
        count = len(batch)
        advance(count)
        readable = readable[:count]
        for number in batch[~readable].tolist():
            errors.setdefault(number, JaxpartError(f"another process: {view.ids[number]}"))
        done = batch[readable].tolist()
        rows = {name: row[:count][readable] for name, row in rows.items()}
        for name, row in rows.items():
            finite = np.isfinite(row).all(axis=tuple(range(1, row.ndim)))
            if not finite.all():
                first = view.ids[done[int(np.argmin(finite))]]
                raise JaxpartError(
                    f"the feature {name} of {first} ({view.data}) is NaN or infinite; check this "
                    "image and the encoder"
                )
        return done, rows

    running: tuple[np.ndarray, Any, Any] | None = None
    for batch, local in zip(batches, local_batches, strict=True):
        pixels = np.zeros((share, view.size, view.size, 3), np.uint8)
        good = np.ones(share, bool)
        for row, number in enumerate(local.tolist()):
            image = next(images)
            if isinstance(image, JaxpartError):
                errors[number], good[row] = image, False
            else:
                pixels[row] = image
        inputs = [pixels]
        if patches is not None:
            blank = np.tile(np.arange(patches, dtype=np.int32), (share - len(local), 1))
            inputs.append(np.concatenate([orders(view, local.tolist(), patches), blank]))
        if encoder.jittable:
            out = _step(encoder, *devices.shard(inputs), names=names)
        else:
            out = devices.shard(represent(encoder, jnp.asarray(pixels), names=names))
        started = batch, out, devices.shard(good)
        if running is not None:
            yield finish(*running)
        running = started
    if running is not None:
        yield finish(*running)


class _Writer:
    """Collects rows into shards and stores them."""

    def __init__(
        self, cache: Cache, addresses: Mapping[str, Mapping[str, str]], dtype: np.dtype[Any]
    ) -> None:
        self._cache, self._addresses, self._dtype = cache, addresses, dtype
        self._waiting: list[tuple[list[str], dict[str, np.ndarray]]] = []
        self._bytes, self._since = 0, time.monotonic()
        self.written: dict[str, list[Shard]] = {name: [] for name in addresses}
        self.rounding = 0.0

    def add(self, ids: list[str], rows: dict[str, np.ndarray]) -> None:
        stored = {name: row.astype(self._dtype) for name, row in rows.items()}
        for name, row in rows.items() if self._dtype != np.float32 else ():
            error = np.abs(stored[name].astype(np.float32) - row).max(initial=0)
            self.rounding = max(self.rounding, float(error / np.abs(row).max(initial=1e-30)))
        self._waiting.append((ids, stored))
        self._bytes += max((row.nbytes for row in stored.values()), default=0)
        if self._bytes >= SHARD_BYTES or time.monotonic() - self._since > _SECONDS_PER_SHARD:
            self.close()

    def close(self) -> None:
        waiting, self._waiting = [(ids, rows) for ids, rows in self._waiting if ids], []
        self._bytes, self._since = 0, time.monotonic()
        if waiting:
            ids = list(itertools.chain.from_iterable(ids for ids, _ in waiting))
            for name in waiting[0][1]:
                rows = np.concatenate([rows[name] for _, rows in waiting])
                shard = self._cache.write(self._addresses[name], Shard(ids, rows))
                self.written[name].append(shard)
