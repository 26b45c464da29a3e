"""Regular expressions that a person or a stranger's file gives: checked, and matched within a limit of time.

An expression whose parts repeat within each other, such as `(a+)+$`, may try more ways than there are atoms.
"""

from __future__ import annotations

import re
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import RecipeError, short

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 100_000  # characters of a text; what matches is asked about its time only now and then
_SECONDS = 5.0  # of the CPU, for one expression and one text: a thousand times what one needs that ends


def checked(expression: str) -> str:
    """The expression; ValueError, in words, where it is no regular expression."""
    try:
        re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f'"{short(expression)}" is no regular expression ({error})') from None
    return expression


def search(expression: str, text: str, option: str) -> re.Match[str] | None:
    """The first match; RecipeError, which names the option, after 5 s of CPU time or for a text past LONGEST."""
    _refuse_long(expression, text, option)
    with in_time(expression, text, option):
        return re.search(expression, text)


def erased(expression: str, text: str, option: str) -> str:
    """The text with a space for each match. Errors as with `search`."""
    _refuse_long(expression, text, option)
    with in_time(expression, text, option):
        return re.sub(expression, " ", text)


def _refuse_long(expression: str, text: str, option: str) -> None:
    if len(text) > LONGEST:
        remedy = "leave that one out, or cut it into its recordings"
        most = f'{option} "{short(expression)}" takes texts of up to {LONGEST:,} characters'
        raise RecipeError([f'{most}; "{short(text)}" has {len(text):,}: {remedy}'])


@contextmanager
def in_time(expression: str, text: str, option: str) -> Iterator[None]:
    """What matches within it ends in time. The limit is kept in a program's main thread, where prep reads labels."""
    stated = f'{option} "{short(expression)}"'
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        remedy = "parts that repeat within each other, such as (a+)+, try every way there is; write it without them"
        raise RecipeError([f'{stated} did not end within {_SECONDS:g} s on "{short(text)}": {remedy}'])

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
