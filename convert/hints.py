"""Suggests the right command for a checkpoint that does not fit, by names and shapes."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from typing import Any

from convert.families import FAMILIES
from convert.family import Family
from convert.locate import Flat, flat_arrays
from convert.options import Options
from convert.plan import Plan, make_plan
from jaxpart.encoders.families import Preprocessing, families
from jaxpart.errors import JaxpartError

_SHOWN = 4
_MAX_ARRAYS = 4000
"""Maximum number of arrays to examine; the largest ViTs have a thousand."""


def preprocessing_of(family: Family) -> Preprocessing:
    """Mean and std of a family's pixels."""
    facts = families().get(family.name)
    return facts.preprocessing if facts else Preprocessing()


def hint(family: Family, contents: Any, options: Options, source: str, out: str) -> str:
    """The families and layouts that fit a checkpoint, best first, and the command; "" if none does."""
    fits = []
    try:
        flat = flat_arrays(contents)
    except JaxpartError:
        return ""
    if len(flat.keys) > _MAX_ARRAYS:
        return ""
    for other in FAMILIES.values():
        for layout in other.layouts:
            plan = _fitting(other, layout, flat, options)
            if plan is not None and not (
                other.name == family.name and layout == options.layout and options.num_heads
            ):
                fits.append((_rank(family, options, other, layout, plan), other, layout, plan))
    if not fits:
        return ""
    fits.sort(key=lambda fit: fit[0])
    _, best, layout, plan = fits[0]
    layouts: dict[str, str] = {}
    for _, other, tried, _ in fits:
        if other is best or other.name != "vit":
            layouts.setdefault(other.name, tried)
    names = [
        name if tried == options.layout else f"the {tried} layout of {name}"
        for name, tried in list(layouts.items())[:_SHOWN]
    ]
    same = best.name == family.name
    given = dataclasses.replace(
        options, layout=layout, with_decoder=options.with_decoder and same
    ).flags()
    if not options.num_heads and plan.config.width not in best.heads:
        given += ["--num-heads", "N"]
    command = ["python", "-m", "convert", best.name, source, out, *given]
    pixels = ""
    if preprocessing_of(best) != preprocessing_of(family):
        mean = preprocessing_of(best).mean
        pixels = f" (normalised unlike {family.name}: mean {mean[0]:.3g})"
    return f"this looks like {' or '.join(names)}{pixels}: {shlex.join(command)}"


def _fitting(family: Family, layout: str, flat: Flat, options: Options) -> Plan | None:
    """A plan that fits the checkpoint, with any number of heads, or None."""
    tried = dataclasses.replace(options, layout=layout, ignore=(), with_decoder=False)
    with contextlib.suppress(Exception):  # a failed search for hints must not hide the error
        return make_plan(family, flat, tried)
    if options.num_heads is None:
        with contextlib.suppress(Exception):
            return make_plan(family, flat, dataclasses.replace(tried, num_heads=1))
    return None


def _rank(
    family: Family, options: Options, other: Family, layout: str, plan: Plan
) -> tuple[Any, ...]:
    words = plan.network.location.network.split(".")
    networks = other.layouts[layout].networks
    released = words[0] in networks if words[0] else not networks or other.name in ("dino", "deit")
    return (
        other.name != family.name,
        other.name == "vit",
        layout != options.layout,
        preprocessing_of(other) != preprocessing_of(family),
        not released,
        len(plan.ignored),
        list(FAMILIES).index(other.name) if other.name in FAMILIES else 0,
    )


def explain(
    family: Family, contents: Any, options: Options, source: str, out: str, error: JaxpartError
) -> JaxpartError:
    """The error for a checkpoint that does not fit, with a suggestion."""
    suggestion = hint(family, contents, options, source, out)
    return JaxpartError(
        f"{source} as {family.name}: {f'{suggestion}; ' if suggestion else ''}{error}"
    )
