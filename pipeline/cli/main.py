"""`prep`: the command line. Commands live beside this file and are loaded when they are asked for."""

from __future__ import annotations

import os
import sys
from importlib import import_module

# One BLAS thread a process: the work is parallel by clips. Set before NumPy is loaded, and passed on to workers.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # gives memory back: a third less at millions of rows

import click  # noqa: E402 - the environment must be set before anything loads NumPy or Arrow

from pipeline import __version__  # noqa: E402
from pipeline.cli.endings import KEPT, end  # noqa: E402
from pipeline.core.errors import did_you_mean  # noqa: E402

SECTIONS = {  # of the help: name of a command -> (module in pipeline.cli, one line of help)
    "Make a set, stage by stage": {
        "ingest": ("stages", "Open each recording of a corpus once and write down what is true of it."),
        "filter": ("stages", "Keep the rows that meet the rules; label keywords; carve a dev split."),
        "resample": ("stages", "Store the kept rows as 16 kHz mono FLAC in shards."),
        "mix": ("stages", "Add noise at a controlled SNR and measure what came out."),
        "scene": ("stages", "Lay calls and other speech into long noise, with their true times."),
    },
    "Make it by a recipe": {
        "run": ("builds", "Run every stage of a recipe."),
        "check": ("builds", "Find every fault of a recipe before any work."),
        "plan": ("builds", "Say what the run of a recipe would do, and why; time and disk."),
        "gather": ("builds", "Write a recipe's manifest from the slices of a run."),
        "status": ("builds", "Say how far the builds in a folder are."),
        "clean": ("builds", "Remove what no manifest and no unfinished build refers to."),
    },
    "Look at it, judge it": {
        "show": ("show", "Summarise a manifest: counts, hours, drops, provenance."),
        "drops": ("show", "List what was dropped before a manifest: each clip, where, and why."),
        "measure": ("look", "Measure voice, pitch, spectrum and noise floor of each clip."),
        "report": ("look", "Write a page to look at: one HTML file of a manifest."),
        "audit": ("look", "Look for leaks between splits, and for classes that the recording chain tells."),
        "explain": ("look", "Explain one clip, from its archive to its mixtures, or why it was dropped."),
        "diff": ("look", "Say how two manifests or packs differ: rows, columns, options."),
        "lexicon": ("lexicon", "Say what the lexicon makes of sentences: label, decision, phrase or guard."),
        "paper-counts": ("look", "Compare AI-Hub's counts with the paper's, and list the classes that fit."),
    },
    "Pass it on": {
        "rights": ("share", "Say what may be done with a set: licences, attribution, terms."),
        "pack": ("share", "Write a manifest as a small file that may be passed on, without its audio."),
        "rebuild": ("share", "Make the set of a pack again from your own copies of the corpora."),
        "verify": ("share", "Prove that a set, or the recordings of a pack, are what they say."),
        "export": ("share", "Write a set for Lhotse, Hugging Face, NeMo, Kaldi, WebDataset, or as CSV."),
        "migrate": ("share", "Write a manifest of an older schema as one of the newest."),
    },
    "This machine": {
        "demo": ("machine", "Make a small corpus and run the whole job on it."),
        "corpora": ("machine", "List the corpora, their licences, and where their roots are."),
        "doctor": ("machine", "Look at this machine: packages, encodings, disk, roots, pace."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Commands(click.Group):
    """Loads a command's module when the command is used, so that `prep --help` loads none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"pipeline.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            ctx.fail(f'no such command "{args[0]}"{did_you_mean(args[0], COMMANDS)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<12}", line) for name, (_, line) in commands.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="prep")
def prep() -> None:
    """Prepare corpora for call-for-help detection: from the downloaded archives to a mixed 16 kHz set and its manifest.

    \b
    Example:
      prep ingest aihub /data/aihub170
      prep ingest cochlscene /data/cochlscene
      prep filter && prep resample && prep mix --snr 20
      prep show manifests/mixed.parquet
    """


def main() -> None:
    """Entry point. Faults that a person can mend end with one message and exit code 1, Ctrl-C with 130."""
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):  # a locale that reads names as EUC-KR or ASCII
        os.execv(sys.executable, [sys.executable, "-P", "-X", "utf8", "-m", "pipeline", *sys.argv[1:]])
    end(prep, "prep", KEPT)
