"""How the commands of the project end: one message for a fault that a person can mend. And they write UTF-8."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from pipeline.core.errors import PrepError, inert
from pipeline.core.files import DISK_FAULTS

KEPT = " What is done is kept: the same command goes on from here."


def speak_utf8() -> None:
    """Lets Korean names be printed whatever the locale says."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]


@contextmanager
def endings(program: str, kept: str = "") -> Iterator[None]:
    """Turns faults that a person can mend into one message and exit code 1.

    kept: is added to the message where a file could not be read or written.
    """
    try:
        yield
    except PrepError as error:
        first, *more = inert(str(error)).splitlines() or [""]
        click.echo("\n".join([f"{program}: {first}", *(f"{' ' * len(program)}  {line}" for line in more)]), err=True)
        sys.exit(1)
    except BrokenPipeError:
        os._exit(1)
    except OSError as error:
        name = re.sub(r"\.half-(.+)-\d+-[0-9a-f]{8}$", r"\1", str(error.filename or "input/output"))
        remedy = f"; {DISK_FAULTS[error.errno]}" if error.errno in DISK_FAULTS else ""
        forbidden = isinstance(error, PermissionError) or error.errno == errno.EROFS
        goes_on = "" if not kept or forbidden else f".{kept}"
        fault = f"{name}: {error.strerror or error}{remedy}"
        click.echo(f"{program}: {inert(fault)}{goes_on}", err=True)
        sys.exit(1)
