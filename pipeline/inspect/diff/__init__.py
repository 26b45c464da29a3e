"""How two manifests differ: which rows, in which columns, and by which option, seed, input or version of what made them."""

from pipeline.inspect.diff.compare import COMPARED, Side, compared, difference, side
from pipeline.inspect.diff.found import Blind, Changed, Difference, Example, Moved, Option
from pipeline.inspect.diff.text import text

__all__ = [
    "COMPARED",
    "Blind",
    "Changed",
    "Difference",
    "Example",
    "Moved",
    "Option",
    "Side",
    "compared",
    "difference",
    "side",
    "text",
]
