"""How the commands of the project speak and end: help that fits the screen, inert text, one message for a fault."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import click

from pipeline.core.errors import PrepError, inert
from pipeline.core.files import DISK_FAULTS

STDERR = 2  # the number of its file
KEPT = " What is done is kept: the same command goes on from here."
# what people type from habit -> the options that it may mean here
HABITS = {
    **dict.fromkeys(("--data", "--data-dir", "--dataset"), ("--manifest", "--root")),
    **dict.fromkeys(("--output", "--output-dir", "-o"), ("--out",)),
    **dict.fromkeys(("--sample-rate", "--sampling-rate", "--sr"), ("--rate",)),
    **dict.fromkeys(("--num-workers", "--workers", "-j"), ("--workers", "--jobs")),
    **dict.fromkeys(("--ckpt", "--weights"), ("--checkpoint",)),
    **{"--batch-size": ("--batch",), "--learning-rate": ("--lr",), "--num-epochs": ("--epochs",)},
    **{"--max-steps": ("--steps",), "--format": ("--to",)},
}


class Help(click.HelpFormatter):
    """Help in which the lines that are kept as they are, such as examples, fit the screen as well."""

    def write_text(self, text: str) -> None:
        """Writes paragraphs. Of one that begins with a backspace, long lines go on below where their text begins."""
        paragraphs = text.split("\n\n")
        for n, paragraph in enumerate(paragraphs):
            if paragraph.startswith("\b\n"):
                lines = [part for line in paragraph.splitlines() for part in self._parts(line)]
                paragraphs[n] = "\n".join(lines)
        super().write_text("\n\n".join(paragraphs))

    def _parts(self, line: str) -> list[str]:
        named = re.match(r" *\S+  +(?=\S)", line)  # a name and what it means
        is_command = not named and line.startswith(" ")
        width = self.width - self.current_indent - len(re.findall("[가-힣]", line)) - 2 * is_command
        further = " " * (len(named[0]) if named else 6 if is_command else 2)
        line = re.sub(r"(--\S+) (?=[^-])", "\\1\0", line)  # an option stays beside its value
        parts = textwrap.wrap(line, width, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
        last = len(parts) - 1
        return [part.replace("\0", " ") + " \\" * (is_command and n < last) for n, part in enumerate(parts)] or [line]


click.Context.formatter_class = Help  # of every command


def speak_utf8() -> None:
    """Lets Korean names be printed whatever the locale says.

    A stream that is closed leads nowhere: else the next file that is opened would have its number, and get its words.
    Who must print may ask whether `sys.stdout` is None.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        continue
    os.close(handle)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]


def echo(text: str, err: bool = False) -> None:
    """Prints a sentence or a table, the only way in which commands do: a terminal obeys nothing in it."""
    click.echo(inert(text), err=err)


def end(command: click.Command, program: str, kept: str = "") -> NoReturn:
    """Runs the command that was typed and ends the process: 1 for a fault, 2 for usage, 130 for Ctrl-C.

    kept: is added where the same command goes on after Ctrl-C, or after a file that could not be read or written.
    """
    speak_utf8()
    with endings(program, kept):
        try:
            code = int(command(prog_name=program, standalone_mode=False) or 0)
        except click.exceptions.Exit as ended:
            code = ended.exit_code
        except click.ClickException as error:
            if isinstance(error, click.NoSuchOption) and error.ctx is not None:
                known = {flag for parameter in error.ctx.command.params for flag in parameter.opts}
                meant = [flag for flag in HABITS.get(error.option_name, ()) if flag in known]
                error.possibilities = meant or error.possibilities  # type: ignore[misc]
            text = io.StringIO()
            error.show(text)
            echo(text.getvalue().rstrip("\n"), err=True)
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            echo(f"{program}: stopped.{kept}", err=True)
            code = 130
    sys.exit(code)


@contextmanager
def endings(program: str, kept: str = "") -> Iterator[None]:
    """Turns faults that a person can mend into one message and exit code 1.

    kept: is added to the message where a file could not be read or written.
    """
    try:
        yield
    except PrepError as error:
        first, *more = inert(str(error)).splitlines() or [""]
        echo("\n".join([f"{program}: {first}", *(f"{' ' * len(program)}  {line}" for line in more)]), err=True)
        sys.exit(1)
    except BrokenPipeError:
        os._exit(1)
    except MemoryError as error:
        what = f" ({error})" if str(error) else ""
        remedy = "free some, raise its limit (ulimit -v), or use fewer --jobs"
        echo(f"{program}: not enough memory{what}: {remedy}", err=True)
        sys.exit(1)
    except OSError as error:
        name = re.sub(r"\.half-(.+)-\d+-[0-9a-f]{8}$", r"\1", str(error.filename or "input/output"))
        remedy = f"; {DISK_FAULTS[error.errno]}" if error.errno in DISK_FAULTS else ""
        forbidden = isinstance(error, PermissionError) or error.errno == errno.EROFS
        goes_on = "" if not kept or forbidden else f".{kept}"
        echo(f"{program}: {name}: {error.strerror or error}{remedy}{goes_on}", err=True)
        sys.exit(1)
