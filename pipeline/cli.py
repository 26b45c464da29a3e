"""`prep`: the command line. Commands live in pipeline/commands and are loaded when they are asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TextIO

# One BLAS thread a process: the work is parallel by clips. Set before NumPy is loaded, and passed on to workers.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # gives memory back: a third less at millions of rows

import click  # noqa: E402 - the environment must be set before anything loads NumPy or Arrow

from pipeline import __version__  # noqa: E402
from pipeline.errors import PrepError  # noqa: E402

COMMANDS = {  # name: (module in pipeline.commands, one line of help)
    "ingest": ("stages", "Open each recording of a corpus once and write down what is true of it."),
    "filter": ("stages", "Keep the rows that meet the rules; label keywords; carve a dev split."),
    "resample": ("stages", "Store the kept rows as 16 kHz mono FLAC in shards."),
    "mix": ("stages", "Add noise at a controlled SNR and measure what came out."),
    "run": ("recipes", "Run every stage of a recipe."),
    "check": ("recipes", "Find every fault of a recipe before any work."),
    "plan": ("folder", "Say what a recipe's run would do, and why; time and disk."),
    "gather": ("recipes", "Write a recipe's manifest from the slices of a run."),
    "status": ("folder", "Say how far the builds in a folder are."),
    "clean": ("folder", "Remove what no manifest and no unfinished build refers to."),
    "show": ("show", "Summarise a manifest: counts, hours, drops, provenance."),
    "audit": ("audit", "Look for leaks between splits, and for classes that the recording chain tells."),
    "report": ("report", "Write a page to look at: one HTML file of a manifest."),
    "export": ("exports", "Write a manifest and its audio for Lhotse, Hugging Face, NeMo, Kaldi, WebDataset or as CSV."),
    "pack": ("sharing", "Write a manifest as a small file that may be passed on, without its audio."),
    "rebuild": ("sharing", "Make the set of a pack again from your own copies of the corpora."),
    "verify": ("sharing", "Prove that a set, or the recordings of a pack, are what they say."),
    "diff": ("questions", "Say how two manifests or packs differ: rows, columns, options."),
    "explain": ("questions", "Tell one clip's life, from its archive to its mixtures, or why it was dropped."),
    "rights": ("questions", "Say what may be done with a set: licences, attribution, terms."),
    "paper-counts": ("questions", "Compare AI-Hub's counts with the paper's, and list the classes that fit."),
    "migrate": ("questions", "Write a manifest of an older schema as one of the newest."),
    "corpora": ("corpora", "List the corpora, their licences, and where their roots are."),
    "demo": ("demo", "Make a small corpus and run the whole job on it."),
    "doctor": ("doctor", "Look at this machine: packages, encodings, disk, roots, pace."),
}


class Commands(click.Group):
    """Loads a command's module when the command is used, so that `prep --help` loads none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"pipeline.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="prep")
def prep() -> None:
    """Prepare corpora for call-for-help detection: from the archives as downloaded to a mixed 16 kHz set and its manifest.

    \b
    Example:
      prep ingest aihub /data/aihub170
      prep ingest cochlscene /data/cochlscene
      prep filter && prep resample && prep mix --snr 20
      prep show manifests/mixed.parquet
    """


def main() -> None:
    """Entry point: faults that a person can mend are one message and exit 1, Ctrl-C is 130."""
    _read_utf8()
    for stream in (sys.stdout, sys.stderr):
        _speak_utf8(stream)
    with _endings():
        sys.exit(prep(prog_name="prep", standalone_mode=False))


def _read_utf8() -> None:
    """Starts again in Python's UTF-8 mode where the locale would read file names as something else: EUC-KR, or ASCII."""
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        os.execv(sys.executable, [sys.executable, "-P", "-X", "utf8", "-m", "pipeline", *sys.argv[1:]])


def _speak_utf8(stream: TextIO) -> None:
    """Korean names must come out whatever the locale says."""
    with suppress(AttributeError, ValueError):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[attr-defined]


@contextmanager
def _endings() -> Iterator[None]:
    try:
        yield
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("prep: stopped. What is done is kept: the same command goes on from here.", err=True)
        sys.exit(130)
    except PrepError as error:
        click.echo("\n".join(f"prep: {line}" if not n else f"      {line}" for n, line in enumerate(str(error).splitlines())), err=True)
        sys.exit(1)
    except BrokenPipeError:
        os._exit(1)
    except OSError as error:
        what = f"{error.filename or 'input/output'}: {error.strerror or error}"
        click.echo(f"prep: {what}. What is done is kept: the same command goes on from here.", err=True)
        sys.exit(1)
