"""The command lines of `train`, `evaluate` and `detect`. The code that does the work is loaded when it is needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from pipeline import __version__
from pipeline.cli.endings import KEPT, echo, end
from pipeline.cli.fields import field_options, typed
from pipeline.core.errors import PrepError
from train import options as training
from train.options import MOST, Options

F = TypeVar("F", bound=Callable[..., Any])
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
FILE = click.Path(path_type=Path)
MANIFEST = Path("manifests/mixed.parquet")


class Number(click.FloatRange):
    """A number of a range; FloatRange alone takes NaN for one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


SHARE = Number(0, 1)
DECISION = click.option(
    "--decision",
    type=click.Choice(["text", "text-exact", "score", "both"]),
    default="text",
    show_default=True,
    help="text: a call is a phrase of the lexicon anywhere in the text; text-exact: the whole text, as in the paper;"
    " score: phrases that are likely somewhere in the sound; both: text or score",
)
SCORE = click.option(
    "--score-threshold",
    type=Number(-1000, 0),
    help="log p from which a score is a call  [default: chosen on dev, or kept in the checkpoint]",
)


def _say(text: str) -> None:
    echo(text, err=True)


@click.command(context_settings=SETTINGS)
@click.version_option(__version__, prog_name="train")
@click.option("--manifest", type=FILE, default=MANIFEST, show_default=True, help="manifest with splits train and dev")
@click.option("--preset", metavar="FILE", help="options in TOML, such as recipes/train-paper.toml; typed options win")
@click.option("--out", type=FILE, default="runs/train", show_default=True, help="folder of last/, best/, log.jsonl")
@click.option("--lexicon", type=FILE, help="keywords by spelling  [default: the lexicon that comes with the project]")
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    help="processes that prepare batches  [default: 0 on a CPU, up to 8 with a GPU]",
)
@click.option(
    "--means",
    type=FILE,
    help="folder for the means of a frozen encoder, which several runs can share  [default: means/ in --out]",
)
@field_options(Options)
def train_command(
    manifest: Path,
    preset: str | None,
    out: Path,
    lexicon: Path | None,
    workers: int | None,
    means: Path | None,
    **values: Any,
) -> None:
    """Fine-tune Whisper with a noise head on a manifest of `prep`; the paper's protocol by default.

    The same command continues an interrupted run, and ends in the same weights. For several GPUs type accelerate launch
    -m train ... with the same options.

    \b
    Example:
      train --manifest manifests/paper.parquet --preset recipes/train-paper.toml --out runs/paper
      train --manifest manifests/mixed.parquet --model openai/whisper-base --task single --out runs/single
      train --manifest manifests/paper.parquet --hard-negatives hard.txt --out runs/harder
    """
    options = training.read(preset, typed(values))
    import_module("train.loop").start(manifest, out, options, lexicon, workers, means, _say)


LISTENING = {"windows", "seconds", "hop", "refractory"}
NO_STREAM = {"manifest", "split", "per_hour", "lost_speech", "curve", "batch", "seed", "audio", "allow_overlap"}
NO_STREAM |= {"crop_noise", "write_false_alarms", "write_exclusions"}


def _listening(command: F) -> F:
    """The options that say how a stream is listened to."""
    numbers = {
        "refractory": (Number(0, 86_400), 5.0, "seconds after the start of a call in which no other is reported"),
        "hop": (Number(0.1, 30), 1.0, "seconds from the start of a window to that of the next"),
        "seconds": (Number(0.5, 30), 5.0, "length of the longest window"),
    }
    for name, (kind, usual, words) in numbers.items():
        command = click.option(f"--{name}", type=kind, default=usual, show_default=True, help=words)(command)
    return click.option(
        "--windows",
        type=click.Choice(["vad", "hop", "both"]),
        help="windows where somebody speaks (needs the extra [detect]), at a fixed hop, or at a fixed hop where"
        " nobody speaks  [default: vad]",
    )(command)


class _Evaluate(click.Group):
    """`evaluate --manifest ...` evaluates; its commands compare evaluations and make the tables of the paper."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("evaluate", "[OPTIONS]  |  compare RUN RUN ...  |  gates RUN  |  paper RECIPE")


@click.group(cls=_Evaluate, invoke_without_command=True, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="evaluate")
@click.option("--manifest", type=FILE, default=MANIFEST, show_default=True, help="manifest to judge on")
@click.option("--checkpoint", type=FILE, help="folder best/ or last/ of a run")
@click.option("--model", help="a Whisper without a head, by hub name or folder: decodes every clip")
@click.option("--split", default="test", show_default=True, help="split to judge")
@click.option(
    "--out", type=FILE, help="folder for the answer  [default: evaluate-SPLIT beside the checkpoint, or in runs/MODEL]"
)
@click.option("--threshold", type=SHARE, help="p_speech from which a clip passes the gate  [default: chosen on dev]")
@click.option(
    "--lost-speech",
    type=SHARE,
    help="choose the gate's threshold as the highest that stops at most this share of dev's speech",
)
@SCORE
@click.option(
    "--per-hour",
    type=Number(0, 1e6),
    multiple=True,
    help="false alarms per hour to choose operating points for, on dev  [default: 1, 10]",
)
@click.option("--gate/--no-gate", default=True, help="stop noise before the decoder")
@click.option(
    "--curve/--no-curve",
    default=True,
    help="also decode what the gate stops, apart, for the trade-off of other thresholds",
)
@click.option(
    "--tolerance", type=SHARE, default=0.0, help="share of a spelling's jamo that may differ  [default: 0, exact]"
)
@DECISION
@click.option(
    "--window",
    type=click.Choice(["auto", "30"]),
    help="seconds that the encoder sees  [default: as trained; for --model 30, with --stream auto]",
)
@click.option(
    "--max-tokens", type=click.IntRange(1, 440), help="longest text, in tokens  [default: as trained; 48 for --model]"
)
@click.option("--batch", type=click.IntRange(1, 65_536), default=32, show_default=True, help="clips at a time")
@click.option(
    "--crop-noise/--no-crop-noise",
    default=None,
    help="cut noise clips to the length of utterances, place and length drawn by clip  [default: as trained]",
)
@click.option("--lexicon", type=FILE, help="keywords by spelling  [default: the checkpoint's]")
@click.option("--seed", type=click.IntRange(-MOST, MOST), default=0, show_default=True, help="seed of the intervals")
@click.option(
    "--with-audio/--redact",
    "audio",
    default=None,
    help="put all audio and transcripts into report.html, with a warning, or none  [default: what licences allow]",
)
@click.option(
    "--allow-overlap",
    is_flag=True,
    help="judge a split with recordings that the checkpoint was trained on all the same",
)
@click.option(
    "--write-false-alarms",
    type=FILE,
    metavar="FILE",
    help="also write the ids of the false alarms, one a line, for train --hard-negatives",
)
@click.option(
    "--write-exclusions",
    type=FILE,
    metavar="FILE",
    help="write the ids of clips that the checkpoint was trained on, for prep filter --exclude",
)
@click.option(
    "--stream",
    type=FILE,
    metavar="TRUTH",
    help="judge on long recordings instead: a scene of prep scene, or a CSV of recording, start, end, keyword",
)
@_listening
@click.option("--json", "as_json", is_flag=True, help="print metrics.json instead of tables")
@click.pass_context
def evaluate_command(ctx: click.Context, /, as_json: bool, stream: Path | None, **values: Any) -> None:
    """Judge the gated cascade on a split: tables, report.html, metrics.json, predictions.parquet, figures.

    The threshold of the gate and the operating points are chosen on the dev split and written down. The answer says so
    where dev itself is judged. Recordings that the checkpoint was trained on are refused.

    \b
    Example:
      evaluate --manifest manifests/paper.parquet --checkpoint runs/paper/best
      evaluate --manifest manifests/paper.parquet --model openai/whisper-tiny --out runs/vanilla
      evaluate compare runs/vanilla runs/single/evaluate-test runs/paper/evaluate-test
      evaluate --checkpoint runs/paper/best --split train --allow-overlap --write-false-alarms hard.txt
      evaluate --stream manifests/test.scene.parquet --checkpoint runs/paper/best
    """
    if ctx.invoked_subcommand is not None:
        return
    listening = {name: values.pop(name) for name in LISTENING}
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if wrong := sorted(given & (NO_STREAM if stream else LISTENING)):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise PrepError(f"{flags}: of no use {'with' if stream else 'without'} --stream")
    if stream:
        echo(import_module("train.stream").judge(_say, stream, listening, values, as_json))
    else:
        echo(import_module("train.evaluate").evaluate(_say, as_json=as_json, **values))


@evaluate_command.command("compare")
@click.argument("runs", nargs=-1, required=True, type=FILE, metavar="RUN RUN ...")
@click.option("--seed", type=click.IntRange(-MOST, MOST), default=0, show_default=True, help="seed of the intervals")
@click.option("--out", type=FILE, metavar="FILE.html", help="also write a page with charts")
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
def compare_command(runs: tuple[Path, ...], seed: int, out: Path | None, as_json: bool) -> None:
    """Show several evaluations of the same clips side by side, as in the paper's Tables II and III.

    Each RUN is a folder that evaluate wrote. Paired differences are to the first.

    \b
    Example:
      evaluate compare runs/vanilla runs/single/evaluate-test runs/paper/evaluate-test
    """
    echo(import_module("train.compare").compare(runs, seed, out, as_json=as_json))


@evaluate_command.command("gates")
@click.argument("run", type=FILE)
@click.option("--manifest", type=FILE, default=MANIFEST, show_default=True, help="manifest that RUN was judged on")
@click.option("--model", help="a Whisper by hub name or folder, for its no-speech probability")
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
def gates_command(run: Path, manifest: Path, model: str | None, as_json: bool) -> None:
    """Show whether the noise head of RUN is better than energy, a voice detector, or Whisper's no-speech probability.

    RUN is a folder that evaluate wrote. The others tell noise from speech on the same clips, each with the threshold
    that is best on dev. The voice detector is Silero and needs the extra [detect].

    \b
    Example:
      evaluate gates runs/paper/evaluate-test --manifest manifests/paper.parquet --model openai/whisper-tiny
    """
    echo(import_module("train.gates").gates(_say, run, manifest, model, as_json=as_json))


@evaluate_command.command("paper")
@click.argument("recipe", default="paper-tables", type=str)
@click.option(
    "--manifest", type=FILE, default="manifests/paper.parquet", show_default=True, help="to train and judge on"
)
@click.option(
    "--out", type=FILE, default="runs/paper-tables", show_default=True, help="folder of all runs and the tables"
)
@click.option("--only", multiple=True, metavar="NAME", help="make only this system of the recipe; may be given again")
@click.option("--tiny", is_flag=True, help="small random networks and few steps: shows that all works")
@click.option("--json", "as_json", is_flag=True, help="print tables.json instead of tables")
def paper_command(recipe: str, manifest: Path, out: Path, only: tuple[str, ...], tiny: bool, as_json: bool) -> None:
    """Make the paper's Tables I, II, III and Fig. 3 beside its own figures: trains and judges what is not done yet.

    RECIPE: a TOML file, or paper-tables, which comes with the project. What data or weights do not allow is named with
    the reason. Stopped half-way, the same command goes on.

    \b
    Example:
      evaluate paper paper-tables --manifest manifests/paper.parquet --out runs/paper-tables
      evaluate paper paper-tables --manifest manifests/demo.parquet --out runs/trial --tiny
    """
    paper = import_module("train.paper").paper
    echo(paper(_say, recipe, manifest, out, only, tiny=tiny, as_json=as_json))


@click.command(context_settings=SETTINGS)
@click.version_option(__version__, prog_name="detect")
@click.argument("files", nargs=-1, type=FILE, metavar="FILE ...")
@click.option("--checkpoint", type=FILE, help="folder best/ or last/ of a run")
@click.option("--model", help="a Whisper that nobody trained for calls, by hub name or folder: hears by its text alone")
@click.option("--lexicon", type=FILE, help="keywords and phrases  [default: the checkpoint's, or the shipped ones]")
@click.option(
    "--window",
    type=click.Choice(["auto", "30"]),
    help="seconds that the encoder sees  [default: as trained; auto, as long as the window, for --model]",
)
@click.option("--stdin", is_flag=True, help="from standard input: 16-bit WAV, or 16-bit little-endian samples")
@click.option("--rate", type=click.IntRange(1000, 768_000), help="Hz of the samples of --stdin  [default: 16000]")
@click.option("--channels", type=click.IntRange(1, 64), help="channels of the samples of --stdin  [default: 1]")
@click.option("--mic", is_flag=True, help="from the microphone (needs the extra [mic])")
@_listening
@click.option(
    "--threshold",
    type=SHARE,
    help="p_speech from which a window is decoded  [default: kept in the checkpoint by evaluate, or 0.5]",
)
@SCORE
@click.option(
    "--tolerance", type=SHARE, default=0.0, help="share of a spelling's jamo that may differ  [default: 0, exact]"
)
@DECISION
@click.option("--all", is_flag=True, help="also print every window without an event")
@click.option("--stats", is_flag=True, help="say on standard error how long it took: real-time factor, latency")
def detect_command(files: tuple[Path, ...], **values: Any) -> None:
    """Find calls for help in recordings or a stream; one JSON object a line for each event, as it happens.

    start and end are when the call is, in seconds of the stream; window_start and window_end what the model heard.
    Recordings may be of any format, rate and channels; m4a and webm need ffmpeg.

    \b
    Example:
      detect --model openai/whisper-base night.wav
      detect --checkpoint runs/paper/best night.wav
      arecord -f S16_LE -r 48000 -c 2 -t wav | detect --checkpoint runs/paper/best --stdin
    """
    import_module("train.detect").detect(_say, files, **values)


def train() -> None:
    """Entry point of `train`."""
    end(train_command, "train", KEPT)


def evaluate() -> None:
    """Entry point of `evaluate`."""
    end(evaluate_command, "evaluate")


def detect() -> None:
    """Entry point of `detect`."""
    end(detect_command, "detect")
