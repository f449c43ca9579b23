"""How many numbers the memories of our methods hold."""

from functools import cache

from adlib.layers import Memory, NRMemory
from adlib.methods import build
from adlib.study.variants import VARIANTS


@cache
def memory_numbers(name: str) -> int:
    """Count the numbers in the memories of a method, or of a variant of `VARIANTS`, as its text has it."""
    method, overrides = VARIANTS.get(name, (name, {}))
    built = build(method, teacher="random", **overrides)
    memories = [module for module in built.modules() if isinstance(module, Memory | NRMemory)]
    return sum(p.numel() for memory in memories for p in memory.parameters())
