"""The methods: name -> class, and `build`, which makes one from its name, a recipe and overrides."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from adlib.errors import check_known
from adlib.methods.base import Batch, Deviation, Method, MethodConfig, Recipes, Stage, configured, seeded
from adlib.methods.destseg import DeSTSeg
from adlib.methods.dskd import DSKD
from adlib.methods.memkd import MemKD
from adlib.methods.memory_destseg import MemoryDeSTSeg
from adlib.methods.mixed_teacher import MixedTeacher
from adlib.methods.mkd import MKD, MemMKD
from adlib.methods.rd import RD
from adlib.methods.rd_memae import RDMemAE
from adlib.methods.reduced_student import ReducedStudent
from adlib.methods.stpm import STPM

METHODS: dict[str, type[Method]] = {
    "stpm": STPM,
    "destseg": DeSTSeg,
    "memory_destseg": MemoryDeSTSeg,
    "reduced_student": ReducedStudent,
    "mixed_teacher": MixedTeacher,
    "rd": RD,
    "memkd": MemKD,
    "rd_memae": RDMemAE,
    "mkd": MKD,
    "mem_mkd": MemMKD,
    "dskd": DSKD,
}
SCALES = ("small", "full")

__all__ = [
    "METHODS",
    "SCALES",
    "Batch",
    "Deviation",
    "Method",
    "MethodConfig",
    "Recipes",
    "Stage",
    "build",
    "mapping",
    "name_of",
    "resolve",
]


def name_of(method: Method) -> str | None:
    """Return the name that a method has in `METHODS`; None for one of a class that is not there."""
    return next((name for name, cls in METHODS.items() if type(method) is cls), None)


def mapping(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the overrides as a dictionary of their own; ValueError for what is none, such as text."""
    if overrides is None or (isinstance(overrides, Mapping) and all(isinstance(name, str) for name in overrides)):
        return dict(overrides or {})
    raise ValueError(
        f"overrides must map fields to values, such as {{'epochs': 6}}, got {overrides!r}; with papermill: "
        "-y '{overrides: {epochs: 6}}'"
    )


def resolve(name: str, recipe: str = "paper", scale: str = "full", /, **overrides: Any) -> Any:
    """Make the config of a method: the paper's defaults, then the recipe's, the scale's and the caller's fields.

    Raises ValueError for an unknown name, recipe, scale or field, or a value of another type.
    """
    check_known("method", name, METHODS)
    cls = METHODS[name]
    check_known(f"recipe of {name}", recipe, cls.RECIPES)
    check_known("scale", scale, SCALES)
    for field in overrides:
        check_known(f"field of {name}", field, [f.name for f in dataclasses.fields(cls.Config)])
    return configured(cls, name, recipe, scale, overrides)


def build(
    name: str,
    recipe: str = "paper",
    teacher: str = "bundled",
    scale: str = "full",
    seed: int = 0,
    **overrides: Any,
) -> Method:
    """Build a method with freshly initialised networks, e.g. `build("stpm", epochs=20)`.

    `teacher` is one of `adlib.backbones.SOURCES`; for mixed_teacher also two of them joined by '+'. `seed` fixes the
    initial weights. With `bundled`, a frozen network whose weights do not ship is exchanged for the nearest that does,
    unless it is among the overrides (ValueError); `config` of the method then says which. Raises as `resolve` and as
    `adlib.backbones.Teacher` do.
    """
    config = resolve(name, recipe, scale, **overrides)
    if teacher == "bundled":
        asked, config = config, METHODS[name].with_bundled(config)
        for field in overrides:  # what was asked for by name is never exchanged
            if getattr(config, field) != getattr(asked, field):
                raise ValueError(
                    f"{field} {getattr(asked, field)!r} does not ship, which teacher='bundled' asks for: leave the "
                    f"override out to take {getattr(config, field)!r}, or name another teacher"
                )
    return seeded(METHODS[name], config, teacher, seed)
