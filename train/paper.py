"""The tables of the paper by one command: trains and judges what data and weights allow, and sets it beside the paper.

What is done stays done: the same command goes on where it was stopped.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core import frame as frames
from pipeline.core import presets, texts
from pipeline.core.errors import PrepError, RecipeError
from train import cached, checkpoint, data, loop, paper_tables
from train import evaluate as evaluating
from train import options as training
from train.data import METRICS, Prediction
from train.folder import locked, write_json, write_text
from train.options import Options
from train.report import write_confusions

Say = Callable[[str], None]
Table = Literal["I", "II", "III"]
TIMES, ANSWER, PAGE = "times.json", "tables.json", "tables.md"
EVALUATION = "evaluate-test"
GATE = 0.5  # the likelier class of the head, as the paper decides


class System(BaseModel):
    """A row of the tables: what is trained with which preset, and what the paper says of it.

    preset: None for a model that is judged as it is. paper: by table; accuracy in %, f1, parameters in millions.
    reason: why parameters differ from those of the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    tables: tuple[Table, ...] = Field(min_length=1)
    preset: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    paper: dict[Table, dict[str, float]] = Field(default_factory=dict)
    reason: str = ""

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.name.lower()).replace("--", "-")

    @property
    def arch(self) -> str:
        """Its network."""
        return str(self.options.get("arch", "whisper"))


class Recipe(BaseModel):
    """What the tables are made of.

    options: of every training. clips: of the paper's sets. tiny: options for a trial. unknown: what was chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: tuple[System, ...] = Field(min_length=1)
    options: dict[str, Any] = Field(default_factory=dict)
    clips: dict[Table, dict[str, int]] = Field(default_factory=dict)
    tiny: dict[Literal["whisper", "classifiers"], dict[str, Any]] = Field(default_factory=dict)
    unknown: dict[str, str] = Field(default_factory=dict)


def read(path: str) -> Recipe:
    """The recipe in a TOML file, or the shipped one of this name. RecipeError names every fault."""
    file = presets.find(path, "recipe", ["paper-tables.toml"])
    try:
        return Recipe.model_validate(presets.read(file))
    except ValidationError as error:
        faults = [f"{file}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise RecipeError(faults) from None


def paper(say: Say, recipe: str, manifest: Path, out: Path, only: Sequence[str], *, tiny: bool, as_json: bool) -> str:
    """Makes the tables in the folder `out`, and returns them as text or as JSON.

    only: names of systems, none for all. tiny: small random shapes and few steps, to see that all works. PrepError
    where the manifest has no test split or the recipe a fault; a system that cannot be trained or judged is a line.
    """
    plan = read(recipe)
    systems = [system for system in plan.system if not only or system.name in only]
    if unknown := sorted(set(only) - {system.name for system in systems}):
        names = ", ".join(system.name for system in plan.system)
        raise PrepError(f"--only {unknown[0]}: {recipe} has no such system: {names}")
    choices = {system.name: _options(system, plan, tiny=tiny) for system in systems}
    judged = data.read(manifest)
    data.rows(judged, "test", "there is nothing to judge")
    results, failed = [], {}
    with locked(out):
        for system in systems:
            say(f"---- {system.name}")
            try:
                results.append(
                    _result(system, choices[system.name], manifest, judged.provenance.logical_hash, out, say)
                )
            except PrepError as error:
                failed[system.name] = str(error)
                say(f"not run {system.name}: {error}")
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        origin = {"manifest": manifest.name, "manifest_hash": judged.provenance.logical_hash, "tiny": tiny}
        origin |= {"recipe": Path(recipe).name, "code": checkpoint.code_version(), "versions": checkpoint.versions()}
        answer = origin | paper_tables.tables(plan, systems, results, failed)
        write_text(out / PAGE, paper_tables.text(answer))
        if answer["figure_3"]:
            write_confusions(out / "figure-3.png", answer["figure_3"])
        write_json(out / ANSWER, answer)
    say(f"-> {out}")
    return json.dumps(answer, ensure_ascii=False, allow_nan=False) if as_json else paper_tables.text(answer)


def _options(system: System, plan: Recipe, *, tiny: bool) -> Options | None:
    """The options of its training, those for a trial where `tiny`; None for a model that is judged as it is."""
    if system.preset is None:
        return None
    small = plan.tiny.get("whisper" if system.arch == "whisper" else "classifiers", {}) if tiny else {}
    try:
        return training.read(system.preset, {**plan.options, **system.options, **small})
    except RecipeError as error:
        raise RecipeError([f"{system.name}: {fault}" for fault in error.faults]) from None


def _result(
    system: System, options: Options | None, manifest: Path, manifest_hash: str, out: Path, say: Say
) -> paper_tables.Result:
    """The answer and predictions of a system; it is trained and judged where that is not done yet."""
    folder = out / system.folder
    model = None if options is not None else str(system.options.get("model", ""))
    if options is not None:
        with _timed(out, system.name, "train_s"):
            loop.start(
                manifest, folder, options, None, None, out / cached.FOLDER if cached.is_exact(options) else None, say
            )
        made = checkpoint.metadata_of(folder / "best")
        weights, has_gate = made.weights_hash, options.arch == "whisper" and options.task == "multi"
    else:
        weights, has_gate = None, False
    place = folder / EVALUATION
    answer = _judged_before(place, manifest_hash, weights)
    if answer is None:
        with _timed(out, system.name, "judge_s"):
            evaluating.evaluate(
                lambda line: None,
                as_json=True,
                manifest=manifest,
                checkpoint=None if options is None else folder / "best",
                model=model,
                out=place,
                threshold=GATE if has_gate else None,
                curve=False,
                decision="text" if options is not None and options.arch != "whisper" else "text-exact",
            )
        answer = json.loads((place / METRICS).read_text(encoding="utf-8"))
    say(f"judged  {system.name}: {answer['counts']['clips']:,} clips")
    clips = list(frames.rows(data.predictions(place), Prediction))
    times = _times(out).get(system.name, {})
    return paper_tables.Result(system.name, answer, clips, times, made.step if options is not None else 0)


def _judged_before(place: Path, manifest_hash: str, weights: str | None) -> dict[str, Any] | None:
    """The answer of an evaluation of these weights on this manifest by this code, None where there is none."""
    try:
        answer = texts.from_json(texts.read(place / METRICS))
        same = answer["manifest_hash"] == manifest_hash and answer["code"] == checkpoint.code_version()
        return answer if same and weights in (None, answer["checkpoint"]["weights_hash"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _times(out: Path) -> dict[str, dict[str, float]]:
    """Seconds of training and judging by system, over all calls of the command."""
    try:
        return dict(texts.from_json(texts.read(out / TIMES)))
    except (OSError, ValueError, TypeError):
        return {}


@contextmanager
def _timed(out: Path, name: str, key: str) -> Iterator[None]:
    """Adds the time of the block to that of a system, also where the block was stopped."""
    began = time.monotonic()
    try:
        yield
    finally:
        times = _times(out)
        own = times.setdefault(name, {})
        own[key] = own.get(key, 0.0) + time.monotonic() - began
        write_json(out / TIMES, times)
