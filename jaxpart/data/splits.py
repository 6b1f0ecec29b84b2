"""Comparison of a data set's splits: different names, missing parts and classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jaxpart.data.identity import common_images
from jaxpart.data.parts import no_patches, part_patches, unseen_parts
from jaxpart.data.sets import DataSet, same_parts, selected_parts
from jaxpart.data.source import DatasetInfo, Source
from jaxpart.errors import JaxpartError, listed

_SHOWN = 10


def compare_splits(
    entry: DataSet, sources: Mapping[str, Source], root: str
) -> tuple[list[str], list[str]]:
    """Remarks on the splits of a data set, and problems, as sentences.

    Args:
      entry: The data set's entry.
      sources: The existing splits by name; the first is for training.
      root: The data set's root, for error messages.
    """
    remarks: list[str] = []
    faults: list[str] = []
    for source in sources.values():
        if source.info.part_names:
            try:
                remarks += _patches(entry, source, root)
            except JaxpartError as error:
                faults.append(str(error))
    first = next(iter(sources.values()), None)
    for source in list(sources.values())[1:]:
        assert first is not None
        try:
            if source.info.part_names or first.info.part_names:
                remarks += set(same_parts(source, first).info.remarks) - set(source.info.remarks)
        except JaxpartError as error:
            faults.append(str(error))
        try:
            if [s.info.split.startswith("train") for s in (first, source)] == [True, False]:
                remarks += trained_on(first, source)
        except JaxpartError as error:
            faults.append(str(error))
        faults += _other_names(first.info, source.info)
        remarks += _classes(first, source)
    return remarks, faults


def trained_on(train: Source, test: Source) -> Iterator[str]:
    """A sentence if images of a test split are training images.

    Raises:
      JaxpartError: All are, though the user named another split.
    """
    count = common_images(train, test)
    ours, theirs = (f"{source.info.name} ({source.info.split})" for source in (test, train))
    if 0 < count == len(test) and ours != theirs:
        raise JaxpartError(
            f"every image of {ours} is also an image of {theirs}, and a test on training images measures "
            "nothing; give the splits different images"
        )
    if count:
        yield f"{ours}: {count} of {len(test)} images are also images of {theirs}"


def unseen_labels(
    info: DatasetInfo, labels: Mapping[str, Mapping[frozenset[int], str]]
) -> Iterator[str]:
    """A sentence for each kind of mask with unused labels; for `labels` see `Summary`."""
    for kind, seen in labels.items():
        values = frozenset[int]().union(*seen)
        names = [
            name
            for label, name in enumerate(info.mask_names[kind])
            if label and label not in values
        ]
        if 0 < len(names) < len(info.mask_names[kind]) - 1:  # none at all is a fault
            yield f"{info.name} ({info.split}): no pixel of {listed(names, _SHOWN)}"


def _patches(entry: DataSet, source: Source, root: str) -> Iterator[str]:
    """The number of part patches, and the parts without any. Raises `JaxpartError` if there are none."""
    selection = selected_parts(entry, source, root)
    patches = part_patches(source, selection)
    if not patches:
        raise JaxpartError(no_patches(source, selection))
    unseen = unseen_parts(patches, selection)
    without = f"; none of {listed(unseen, _SHOWN)}" if unseen else ""
    yield f"{source.info.name} ({source.info.split}): {len(patches)} part patches{without}"


def _other_names(first: DatasetInfo, other: DatasetInfo) -> Iterator[str]:
    """A sentence for each list of names that differs between two splits."""
    lists = {"classes": (first.class_names, other.class_names)}
    for kind in (*first.mask_names, *other.mask_names):
        names = first.mask_names.get(kind, ()), other.mask_names.get(kind, ())
        lists[f"labels of mask {kind!r}"] = names
    for what, (ours, theirs) in lists.items():
        if ours != theirs:
            yield (
                f"{first.name}: {first.split} and {other.split} have different {what}, or order them "
                "differently; give both the same list"
            )


def _classes(first: Source, other: Source) -> Iterator[str]:
    """A sentence for each split that lacks classes of the other one."""
    if not first.info.class_names or first.info.class_names != other.info.class_names:
        return
    ours, theirs = ({s.annotation(i).label for i in range(len(s))} for s in (first, other))
    for source, mine, others in ((first, ours, theirs), (other, theirs, ours)):
        names = [
            name
            for label, name in enumerate(source.info.class_names)
            if label in others and label not in mine
        ]
        if names:
            yield f"{source.info.name} ({source.info.split}): no image of {listed(names, _SHOWN)}"
