"""Tables I, II and III of the paper beside what was measured here: scores with n and intervals, parameters, reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from train import archs, scores
from train.archs import ARCHS
from train.data import Prediction
from train.report import percent, plain, share
from train.scores import IN_DOMAIN, OUT_OF_DOMAIN, Scorer
from train.text import NOISE

if TYPE_CHECKING:
    from train.paper import Recipe, System

RECORDINGS = "recordings"  # the corpus of Table II
WANTED = {  # of the split test, by table
    "I": "speech with a keyword",
    "II": f"the corpus {RECORDINGS}: ingest recordings of your own, as recipes/paper-literal.toml does",
    "III": f"noise of {IN_DOMAIN} or {OUT_OF_DOMAIN}, and a system with a gate",
}
DASH = "-"


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a system was measured to do. answer: of `evaluate`. times: seconds by part. step: of the best checkpoint."""

    name: str
    answer: Mapping[str, Any]
    clips: Sequence[Prediction]
    times: Mapping[str, float]
    step: int


def tables(
    plan: Recipe, systems: Sequence[System], results: Sequence[Result], failed: Mapping[str, str]
) -> dict[str, Any]:
    """All tables, for JSON. failed: why a system could not be trained or judged, by its name."""
    measured = {result.name: result for result in results}
    answer: dict[str, Any] = {"tables": {}, "not_run": [], "unknown": plan.unknown, "arithmetic": arithmetic(plan)}
    for table in ("I", "II", "III"):
        rows = [_row(table, system, measured.get(system.name)) for system in systems if table in system.tables]
        answer["tables"][table] = rows
        for row in rows:
            if row["name"] in failed:
                answer["not_run"].append({"table": table, "name": row["name"], "reason": failed[row["name"]]})
            elif not row["clips"]:
                reason = f"the split test of the manifest has no clip for it ({WANTED[table]})"
                answer["not_run"].append({"table": table, "name": row["name"], "reason": reason})
    answer["figure_3"] = [
        {
            "name": row["name"] + ("" if row["has_gate"] else ", noise as others"),
            "labels": labels,
            "confusion": [counts[: len(labels)] for counts in own["confusion"]][: len(labels)],
        }
        for row in answer["tables"]["II"]
        if row["clips"]
        for own in [row["noise_apart" if row["has_gate"] else "noise_as_others"]]
        for labels in [own["labels"] if row["has_gate"] else own["labels"][:-1]]
    ]
    return answer


def _row(table: str, system: System, result: Result | None) -> dict[str, Any]:
    """A row: what the paper says, and what was measured, None where it was not."""
    row: dict[str, Any] = {"name": system.name, "paper": dict(system.paper.get(table, {})), "clips": 0}
    row |= {"parameters": parameters(system), "reason": system.reason}
    if result is None:
        return row
    row["has_gate"] = result.answer["cost"]["parameters_added"] > 0 and result.answer["gate"]["threshold"] is not None
    row |= {"parameters": result.answer["cost"]["parameters"], "seconds": dict(result.times), "step": result.step}
    row |= {"cautions": result.answer["cautions"], "device": result.answer["cost"]["device"]}
    clips = [clip for clip in result.clips if clip.truth is not None]
    scorer = Scorer(result.answer["keywords"], 0)
    if table == "III":
        noise = scores.noise(clips, scorer)
        row |= {name: noise[name] for name in noise}
        row["clips"] = sum(noise[name]["clips"] for name in ("in_domain", "out_of_domain") if row["has_gate"])
        return row
    own = [clip for clip in clips if (clip.corpus == RECORDINGS) == (table == "II") and clip.corpus != OUT_OF_DOMAIN]
    if not any(clip.truth != NOISE for clip in own):
        return row
    return row | {"clips": len(own), **_mappings(own, scorer, f"{table} {system.name}")}


def _mappings(clips: Sequence[Prediction], scorer: Scorer, name: str) -> dict[str, Any]:
    """The scores of the clips with noise left out, as others, and apart."""
    speech = [clip for clip in clips if clip.truth != NOISE]
    return {
        "speech_alone": scores.classes(speech, scorer, scorer.keywords, f"{name} speech"),
        "noise_as_others": scores.classes(
            scores.noise_as_others(clips, scorer), scorer, scorer.keywords, f"{name} others"
        ),
        "noise_apart": scores.classes(clips, scorer, [*scorer.keywords, NOISE], f"{name} apart"),
        "decided_noise": scores.decided_noise(clips, scorer),
    }


def parameters(system: System) -> int | None:
    """The parameters of the published shape with noise as a class, counted without weights; None for a Whisper."""
    if system.arch == "whisper":
        return None
    arch = ARCHS[system.arch]
    with torch.device("meta"):
        net = archs.build(arch, arch.real, ["saveme", "helpme", "others", NOISE])
    return sum(parameter.numel() for parameter in net.parameters())


def fraction(value: float, clips: int) -> int | None:
    """How many of the clips give this percentage, rounded to two places; None where no number of them does.

    >>> fraction(88.48, 547), fraction(65.03, 547)
    (484, None)
    """
    count = round(value * clips / 100)
    return count if round(100 * count / clips, 2) == round(value, 2) else None


def arithmetic(plan: Recipe) -> list[str]:
    """Which of the paper's percentages are shares of its own sets, and what one constant answer scores there."""
    lines = []
    for table, counts in plan.clips.items():
        if total := counts.get("all"):
            named = {name: count for name, count in counts.items() if name != "all"}
            rest = total - sum(named.values())
            others = rest + named.pop(NOISE, 0)
            largest = max(others, *named.values())
            parts = ", ".join(f"{count:,} {name}" for name, count in counts.items() if name != "all")
            most = f"{100 * largest / total:.1f} % ({largest:,}, with noise as others)"
            lines.append(f"Table {table}: {total:,} clips ({parts}); one constant answer is right on {most}")
        for system in plan.system:
            for key, value in system.paper.get(table, {}).items():
                clips = total if key == "accuracy" else counts.get(key)
                if clips:
                    count = fraction(value, clips)
                    words = f"is {count:,}/{clips:,}" if count is not None else f"is no k/{clips:,}"
                    lines.append(f"Table {table}, {system.name}: {value:.2f} % {words}")
    return lines


# ---- as text


def text(answer: Mapping[str, Any]) -> str:
    """The tables in Markdown, their columns aligned."""
    one, two, three = (answer["tables"][name] for name in ("I", "II", "III"))
    devices = sorted({row["device"] for row in (*one, *two, *three) if "device" in row})
    parts = [
        f"# The paper's tables on {answer['manifest']}",
        f"Split test of the manifest {answer['manifest_hash'][:12]}, recipe {answer['recipe']}, code {answer['code']},"
        f" {', '.join(devices) or 'nothing run'}. In brackets: 95 %, bootstrap over groups. A system without figures is"
        " under *Not run*.",
    ]
    if answer["tiny"]:
        parts.append(
            "**A trial: small random networks and few steps. It shows that all works; the scores mean nothing.**"
        )
    parts += ["## Table I: three classes", _scores(one, {"left out": "speech_alone", "others": "noise_as_others"})]
    head = ("system", "parameters", "in the paper, M", "why they differ", "training")
    parts.append(markdown(head, [_sizes(row) for row in one]))
    mappings = {"others": "noise_as_others", "apart": "noise_apart"}
    parts += ["## Table II: recordings, noise among them", _scores(two, mappings)]
    if ran := [row for row in two if row["clips"]]:
        head = ("noise of the recordings", "clips", "gate stopped it", "passed, nothing said")
        parts.append(markdown(head, [_noise_of_recordings(row) for row in ran]))
    head = ("system", "noise", "paper, %", "clips", "gate stopped it", "passed, nothing said")
    parts += ["## Table III: noise", markdown(head, [cells for row in three for cells in _noise(row)])]
    if answer["figure_3"]:
        parts += ["## Fig. 3: confusion on the recordings", "![Fig. 3](figure-3.png)"]
        for matrix in answer["figure_3"]:
            cells = zip(matrix["labels"], matrix["confusion"], strict=True)
            rows = [(f"**{label}**", *map(str, row)) for label, row in cells]
            parts.append(markdown((f"{matrix['name']}: truth \\ decided", *matrix["labels"]), rows))
    cautions = {f"{row['name']}: {each}" for row in (*one, *two, *three) for each in row.get("cautions", ())}
    lists = {
        "Not run": [f"Table {each['table']}, {each['name']}: {each['reason']}" for each in answer["not_run"]],
        "The paper's own figures": answer["arithmetic"],
        "What the paper does not say, and what is taken here": [": ".join(each) for each in answer["unknown"].items()],
        "Cautions": sorted(cautions),
    }
    for title, lines in lists.items():
        parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)] if lines else []
    return "\n\n".join(parts) + "\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns as wide as their widest cell."""
    lines = [[cell.replace("|", "/") for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def _scores(rows: Sequence[Mapping[str, Any]], mappings: Mapping[str, str]) -> str:
    """A line for each system and each way to count noise, then what one constant answer scores."""
    cells = []
    for row in rows:
        paper = f"{row['paper']['accuracy']:.2f}" if "accuracy" in row["paper"] else DASH
        paper += f" ({row['paper']['f1']:.2f})" if "f1" in row["paper"] else ""
        for words, name in mappings.items() if row["clips"] else {DASH: ""}.items():
            own = row.get(name, {"clips": 0, "accuracy": None, "balanced_accuracy": None, "macro_f1": None})
            each = percent(own["accuracy"]), percent(own["balanced_accuracy"]), plain(own["macro_f1"])
            cells.append([row["name"], paper, words, f"{own['clips']:,}", *each])
    for words, name in mappings.items():
        for own in [row[name] for row in rows if row["clips"]][:1]:
            clips = f"{own['clips']:,}"
            cells.append(["*one constant answer*", DASH, words, clips, share(own["largest_class"]), DASH, DASH])
    return markdown(("system", "paper, % (F1)", "noise is", "clips", "accuracy", "balanced", "macro F1"), cells)


def _sizes(row: Mapping[str, Any]) -> list[str]:
    """Parameters beside those of the paper, and how long it was trained."""
    counted = DASH if row["parameters"] is None else f"{row['parameters']:,}"
    paper, seconds = row["paper"].get("parameters"), row.get("seconds", {}).get("train_s")
    training = DASH if seconds is None else f"{seconds / 60:.1f} min, best at step {row['step']:,}"
    return [row["name"], counted, DASH if paper is None else f"{paper:g}", row["reason"] or DASH, training]


def _noise_of_recordings(row: Mapping[str, Any]) -> list[str]:
    """What became of the noise; a system without a gate stops none."""
    noise = row["decided_noise"][NOISE]
    clips = row["noise_apart"]["clips"] - row["speech_alone"]["clips"]
    return [row["name"], f"{clips:,}", str(noise["stopped"]) if row["has_gate"] else DASH, str(noise["nothing_said"])]


def _noise(row: Mapping[str, Any]) -> list[list[str]]:
    """A line for each set of noise."""
    if not row["clips"]:
        return [[row["name"], DASH, DASH, "0", DASH, DASH]]
    sets = {"in_domain": IN_DOMAIN, "out_of_domain": OUT_OF_DOMAIN}
    sets |= {f"out_of_domain_{key}": f"{OUT_OF_DOMAIN}, {key.replace('_', '-')}" for key in ("speech_like", "other")}
    cells = []
    for name, words in sets.items():
        own, paper = row[name], row["paper"].get(name)
        stopped = percent(own["accuracy"]), percent(own["nothing_said"])
        cells.append([row["name"], words, DASH if paper is None else f"{paper:.2f}", f"{own['clips']:,}", *stopped])
    return cells
