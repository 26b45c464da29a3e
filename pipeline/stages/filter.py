"""Filter: rules over columns, such as scenarios, durations and levels; keywords; the dev split. It opens no audio."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline.core import expressions, keys, measures, sql
from pipeline.core import frame as frames
from pipeline.core.errors import PrepError, RecipeError, did_you_mean, sample, short
from pipeline.core.row import Drop, Row
from pipeline.corpora import near, notation
from pipeline.corpora.aihub import CLASSES, class_of
from pipeline.corpora.lexicon import Lexicon, normalised
from pipeline.stages import Options as StageOptions
from pipeline.stages import Plan
from pipeline.stages.splits import SPLITS, apart, with_dev

if TYPE_CHECKING:
    from pandas import DataFrame

NAME = "filter"
VERSION = 2
PAPER_SCENARIOS = ("강도범죄", "절도범죄", "폭력범죄", "화재", "갇힘", "도움요청")


class Options(StageOptions):
    """What may pass. Scenarios bind rows that carry one; noise and field recordings pass."""

    scenarios: tuple[str, ...] = Field(
        PAPER_SCENARIOS, description="Korean names of the scenarios to keep (the paper's six are a guess)"
    )
    splits: tuple[str, ...] = Field(SPLITS, description="splits to keep")
    min_s: float = Field(0.3, ge=0, description="shortest clip, seconds")
    max_s: float = Field(30.0, gt=0, description="longest clip of speech, seconds")
    min_level_dbfs: float = Field(-70.0, le=0, description="lowest level (RMS) of a clip, dBFS")
    max_clipped: float = Field(0.05, ge=0, le=1, description="largest share of clipped samples")
    max_zero: float = Field(0.9, ge=0, le=1, description="largest share of digital-zero samples")
    max_peak_dbfs: float = Field(40.0, description="highest peak of a clip, dBFS: no recording has a higher one")
    max_dc_db: float = Field(-6.0, description="most DC, with all under about 9 Hz, dB relative to the level")
    max_one_sample: float = Field(0.2, gt=0, le=1, description="largest share of a clip's energy in one sample")
    min_rate_hz: int = Field(8_000, ge=0, description="lowest rate of a source recording, Hz")
    transcript: bool = Field(True, description="speech must have a transcript")
    text: Literal["spoken", "written", "raw"] = Field(
        "spoken", description="transcripts without notation, of two spellings this one; raw: as they are"
    )
    erase: tuple[str, ...] = Field((), description="regular expression of what in transcripts is no words")
    dev_share: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="share of the groups of train that become dev, for a corpus without a dev split of its own",
    )
    dev: Literal["draw", "balanced"] = Field(
        "draw",
        description="draw: each group becomes dev by a draw of its own, whatever else is there; balanced: as many "
        "clips, each keyword among them, for a corpus of few groups",
    )
    others: tuple[str, ...] = Field(
        (), description="share of train's speech without a call to keep, by kind: call, guarded, near or other=SHARE"
    )
    where: str | None = Field(None, min_length=1, description="SQL condition over the columns that a row must meet")

    @field_validator("scenarios")
    @classmethod
    def _known_scenarios(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Canonical names; aliases are accepted."""
        canonical = []
        for name in names:
            scenario = class_of(name)
            if scenario is None:
                raise ValueError(f'unknown scenario "{name}"{did_you_mean(name, CLASSES)}')
            canonical.append(scenario)
        return tuple(canonical)

    @field_validator("erase")
    @classmethod
    def _expressions(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(expressions.checked(expression) for expression in given)

    @field_validator("splits")
    @classmethod
    def _known_splits(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SPLITS:
                raise ValueError(f'unknown split "{name}"{did_you_mean(name, SPLITS)}')
        return names

    @field_validator("others")
    @classmethod
    def _known_kinds(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        kinds = [share_of(value)[0] for value in values]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"{', '.join(values)}: a kind is named twice")
        return values


def share_of(value: str) -> tuple[str, float]:
    """(kind, share) of `other=0.2`."""
    kind, _, share = value.partition("=")
    if kind not in near.KINDS:
        raise ValueError(f'"{value}": expected a kind of {", ".join(near.KINDS)}{did_you_mean(kind, near.KINDS)}')
    try:
        number = float(share)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError(f'"{value}": expected KIND=SHARE with a share from 0 to 1')
    return kind, number


OF_LEVEL = ("silent", "too_quiet")  # rules on a level that later stages measure anew, of other samples


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that rows must meet. keep: SQL condition; value: SQL expression of what decides, as a person reads it.

    required: what the value must be. broken: what follows the value in the sentence that a drop gets.
    """

    reason: str
    keep: str
    value: str
    required: str
    broken: str

    @property
    def detail(self) -> str:
        """SQL expression of the sentence that says what decided."""
        return f"coalesce(({self.value}) || '{self.broken}', '{self.required} expected, nothing is known')"


def rules(options: Options) -> list[Rule]:
    """The rules in the order in which they are tried; a row is dropped by the first that it breaks."""

    def least(reason: str, column: str, bound: float, unit: str, value: str, word: str) -> Rule:
        limit = f"{bound} {unit}"
        return Rule(reason, f"{column} >= {bound}", value, f"at least {limit}", f", {word} than {limit}")

    def most(reason: str, column: str, bound: float, what: str) -> Rule:
        value = f"printf('%.4f of the samples {what}', {column})"
        return Rule(reason, f"{column} <= {bound}", value, f"at most {bound}", f", more than {bound}")

    def one_of(names: Iterable[str]) -> str:
        return ", ".join(f"'{name}'" for name in names) or "''"

    seconds, longest = "(frames / rate_hz)", f"{options.max_s} s"
    length, level = f"printf('%.3f s', {seconds})", "printf('level %.1f dBFS', level_full_dbfs)"
    scenario = "coalesce(printf('scenario %s', scenario), 'no scenario')"
    scenarios = f"scenario IS NULL OR scenario IN ({one_of(options.scenarios)})"
    short = f"kind = 'noise' OR {seconds} <= {options.max_s}"
    transcript = "CASE WHEN transcript IS NOT NULL THEN 'a transcript' ELSE printf('%s without a transcript', kind) END"
    listed = [
        Rule(
            "split",
            f"split IN ({one_of(options.splits)})",
            "printf('split %s', split)",
            f"one of {', '.join(options.splits)}",
            " is not kept",
        ),
        Rule("scenario", scenarios, scenario, f"one of {', '.join(options.scenarios)}, or none", " is not kept"),
        least("too_short", seconds, options.min_s, "s", length, "shorter"),
        Rule("too_long", short, length, f"at most {longest}, but for noise", f", longer than {longest}"),
        least("low_rate", "source_rate_hz", options.min_rate_hz, "Hz", "printf('%d Hz', source_rate_hz)", "lower"),
        Rule("silent", "level_full_dbfs IS NOT NULL", f"coalesce({level}, 'no signal at all')", "a signal", ""),
        least("too_quiet", "level_full_dbfs", options.min_level_dbfs, "dBFS", level, "lower"),
        *_believable(options),
        most("clipped", "clipped_share", options.max_clipped, "clipped"),
        most("digital_zero", "zero_share", options.max_zero, "digital zero"),
        Rule(
            "no_transcript",
            "kind <> 'speech' OR transcript IS NOT NULL",
            transcript,
            "a transcript, where it is speech",
            " (kept with --no-transcript, or transcript = false)",
        ),
    ]
    return listed if options.transcript else listed[:-1]


def _believable(options: Options) -> list[Rule]:
    """The rules on samples that no microphone gave."""
    one_sample = "(pow(10, (peak_dbfs - level_full_dbfs) / 10) / (frames * coalesce(source_channels, 1)))"
    return [
        Rule(
            "impossible",
            f"peak_dbfs <= {options.max_peak_dbfs}",
            "printf('peak %.1f dBFS', peak_dbfs)",
            f"at most {options.max_peak_dbfs} dBFS",
            f", higher than {options.max_peak_dbfs} dBFS: no full scale is 1.0 here (16-bit numbers as float peak at "
            "90.3 dBFS: divide them by 32768), or samples are broken",
        ),
        Rule(
            "one_sample",
            f"{one_sample} <= {options.max_one_sample}",
            f"printf('%.2f of the energy in one sample', {one_sample})",
            f"at most {options.max_one_sample}",
            f", more than {options.max_one_sample}: a click decides its level and its gain",
        ),
        Rule(
            "dc",
            f"dc_dbfs IS NULL OR dc_dbfs - level_full_dbfs <= {options.max_dc_db}",
            "coalesce(printf('DC %.1f dBFS at a level of %.1f dBFS', dc_dbfs, level_full_dbfs), 'no DC')",
            f"at most {options.max_dc_db} dB of the level",
            f", more than {options.max_dc_db} dB of it: what nobody hears would decide the level",
        ),
    ]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of a row: the value that decides, what is required of it, whether it is met."""

    rule: str
    value: str
    required: str
    met: bool


def verdicts(row: Row, options: Options, measured: DataFrame | None = None) -> list[Verdict]:
    """What each rule says of a row as ingest left it; `where` too, unless it names measures and `measured` is None."""
    row = replace(row, transcript=words_of(row.transcript, options))
    tried, frame = rules(options), frames.from_rows([row], Row)
    answers = sql.derive(
        frame,
        **{f"v{n}": f"[{rule.value}, CAST(coalesce({rule.keep}, false) AS VARCHAR)]" for n, rule in enumerate(tried)},
    )
    listed = []
    for n, rule in enumerate(tried):
        value, met = frames.values(answers[f"v{n}"])[0]
        listed.append(Verdict(rule.reason, value or "unknown", rule.required, met == "true"))
    if options.where is not None and (measured is not None or not _measures_in(options.where)):
        frame = frame if measured is None else measures.beside(frame, measured)
        listed.append(Verdict("where", "the row's columns", options.where, bool(sql.where(frame, options.where)[0])))
    return listed


def plan(
    rows: DataFrame,
    options: Options,
    seed: int,
    lexicon: Lexicon,
    measured: DataFrame | None = None,
    exclude: Sequence[str] = (),
) -> Plan:
    """Keeps the rows that meet every rule, with keyword and dev split; drops the others, and what is in two splits.

    There are no jobs: columns decide, no audio is opened. measured: what `prep measure` measured of the rows, whose
    columns `where` may name as well. exclude: ids of rows to leave out. RecipeError where `where` does not run,
    PrepError for rows that are mixtures.
    """
    if frames.equal(rows["kind"], "mixture").any():
        raise PrepError("these are mixtures already: filter takes what prep ingest wrote (manifests/CORPUS.parquet)")
    rows, on_notation = _without_notation(frames.ordered(rows), options)
    tried = rules(options)
    reasons = " ".join(f"WHEN NOT coalesce({rule.keep}, false) THEN '{rule.reason}'" for rule in tried)
    details = " ".join(f"WHEN NOT coalesce({rule.keep}, false) THEN {rule.detail}" for rule in tried)
    broken = sql.derive(rows, reason=f"CASE {reasons} END", detail=f"CASE {details} END")
    keep = ~frames.present(broken, "reason")
    drops = [_drops(rows, ~keep, frames.pick(broken, ~keep))]
    excluded = frames.among(rows["id"], exclude)
    drops.append(_drops(rows, keep & excluded, {"reason": "excluded", "detail": "a file of --exclude names it"}))
    keep &= ~excluded
    if exclude and (absent := set(exclude) - (here := set(frames.each(rows["id"])))):
        of_none = f"{len(absent):,} of {len(exclude):,} ids to exclude are of no row here"
        on_notation.append(f"{of_none} ({sample(absent, 2)}); rows are called {sample(here, 1)}")
    if options.where is not None:
        meets = np.zeros(len(rows), dtype=np.bool_)
        named = _measures_in(options.where)
        if named and measured is None:
            raise RecipeError([f"where: {', '.join(named)}: nobody measured these clips yet: prep measure MANIFEST"])
        meets[keep] = sql.where(
            measures.beside(rows, measured) if named and measured is not None else rows, options.where, keep
        )
        drops.append(_drops(rows, keep & ~meets, {"reason": "where", "detail": f"does not meet: {options.where}"}))
        keep &= meets
    drops += _thinned(rows, keep, options, seed, lexicon, on_notation)
    share = options.dev_share if "dev" in options.splits else 0.0
    split, notes = with_dev(rows, keep, share, seed, lexicon if options.dev == "balanced" else None)
    scenarios = sorted(name for name in frames.codes(rows["scenario"])[1] if name)
    is_asked = bool(scenarios) or options.scenarios != PAPER_SCENARIOS
    if is_asked and (unknown := [name for name in options.scenarios if name not in scenarios]):
        there = f"there are {sample(scenarios)}" if scenarios else "no row has any, and all pass"
        notes.append(f"no row has the scenario {', '.join(unknown)}; {there}")
    deciding = frames.with_columns(rows[["id", "corpus", "group", "source_pcm_hash"]], split=split)
    for column in ("group", "source_pcm_hash"):
        stays, lost = apart(frames.pick(deciding, keep), column, NAME)
        drops.append(lost)
        keep[np.flatnonzero(keep)[~stays]] = False
    kept = frames.pick(frames.with_columns(rows, split=split), keep)
    transcripts, texts = frames.codes(kept["transcript"])
    keywords = [lexicon.keyword(text) for text in texts]
    notes = [*on_notation, *notes, *_on_spellings(transcripts, texts, keywords, lexicon)]
    notes += _absent(transcripts, keywords, kept["split"])
    kept = frames.with_columns(kept, keyword=frames.spread(transcripts, keywords))
    return Plan(frames.from_rows([], Row), kept=kept, drops=frames.concat(drops, Drop), notes=notes)


def _absent(codes: NDArray[np.int64], keywords: Sequence[str | None], split: Any) -> list[str]:
    """A sentence for each split that lacks a keyword which another split has."""
    of_split, splits = frames.codes(split)
    of_row = np.array([name or "" for name in keywords], dtype=object)[codes] if len(codes) else np.array([])
    names = sorted({name for name in keywords if name})
    counts = {
        name: {each: int(((of_row == name) & (of_split == code)).sum()) for code, each in enumerate(splits)}
        for name in names
    }
    notes = []
    for each in sorted(splits):
        lacking = [name for name in names if not counts[name][each]]
        if lacking and len(lacking) < len(names):
            there = ", ".join(f"{name} {sum(counts[name].values()):,}" for name in lacking)
            remedy = ": --dev balanced carves a dev that has each" if each == "dev" else ""
            notes.append(f"{each} has no {', '.join(lacking)} (in all splits: {there}){remedy}")
    return notes


def words_of(text: str | None, options: Options) -> str | None:
    """What the options make of a transcript; None where it holds no word."""
    if text is None:
        return None
    plain = notation.plain(text, options.text, options.erase)
    return plain if plain == text or normalised(plain) else None


def _without_notation(rows: DataFrame, options: Options) -> tuple[DataFrame, list[str]]:
    """(the rows, their transcripts without notation; sentences on what was taken out)."""
    codes, texts = frames.codes(rows["transcript"])
    words = [words_of(text, options) for text in texts]
    changed = [code for code, text in enumerate(texts) if words[code] != text]
    notes = [
        f"--erase {expression} matches no transcript"
        for expression in options.erase
        if not any(text and expressions.search(expression, text, "--erase") for text in texts)
    ]
    if not changed:
        return rows, notes
    counts = np.bincount(codes, minlength=len(texts))
    first = texts[changed[0]]
    notes += [
        f"{int(counts[changed].sum()):,} transcripts hold notation and are taken without it (--text {options.text}), "
        f'such as "{short(first, 40)}": "{short(words[changed[0]] or "", 40)}"'
    ]
    if empty := int(counts[[code for code in changed if words[code] is None]].sum()):
        notes.append(f"{empty:,} of them hold nothing else and count as no transcript")
    return frames.with_columns(rows, transcript=frames.spread(codes, words)), notes


def _on_spellings(
    codes: NDArray[np.int64], texts: Sequence[str | None], keywords: Sequence[str | None], lexicon: Lexicon
) -> list[str]:
    """Sentences on transcripts that hold a spelling of the lexicon among other signs or words, and are no keyword."""
    spelling = re.compile("|".join(map(re.escape, sorted(lexicon.spellings))))
    others = [
        code
        for code, text in enumerate(texts)
        if text and keywords[code] == lexicon.other and spelling.search(normalised(text))
    ]
    counts = np.bincount(codes, minlength=len(texts))
    notes = []
    for signs, why in (
        (True, "beside signs that are no words: if they are notation, --erase REGEX takes it out"),
        (False, "among other words: whole transcripts decide the keyword"),
    ):
        some = [code for code in others if notation.has_signs(texts[code] or "") == signs]
        if some:
            count, example = int(counts[some].sum()), short(texts[some[0]] or "", 40)
            notes.append(f'{count:,} transcripts hold a call and are {lexicon.other}, such as "{example}", {why}')
    return notes


def _thinned(
    rows: DataFrame, keep: NDArray[np.bool_], options: Options, seed: int, lexicon: Lexicon, notes: list[str]
) -> list[DataFrame]:
    """Drops of train's speech without a call beyond the share of its kind; `keep` becomes false there; notes grow.

    The draw is of each clip by its id: a larger share keeps what a smaller one keeps.
    """
    shares = dict(share_of(value) for value in options.others)
    if not shares:
        return []
    places = np.flatnonzero(keep & frames.equal(rows["split"], "train") & frames.equal(rows["kind"], "speech"))
    codes, texts = frames.codes(frames.pick(rows, places)["transcript"])
    kinds = [near.kind(text, lexicon)[0] if lexicon.keyword(text) == lexicon.other else None for text in texts]
    drawn = keys.draws(seed, "others", frames.each(frames.pick(rows, places)["id"]))[:, 0]
    drops = []
    for kind, share in shares.items():
        is_kind = np.array([each == kind for each in kinds], dtype=np.bool_)[codes]
        if not is_kind.any():
            there = sample({each for each in kinds if each}, 4) or "none without a call"
            notes.append(f"--others {kind}={share:g} is of no clip of train; there are {there}")
        lost = np.zeros(len(rows), dtype=np.bool_)
        lost[places[is_kind & (drawn >= share)]] = True
        keep &= ~lost
        drops.append(_drops(rows, lost, {"reason": "others", "detail": f"speech of train: others, {kind}={share:g}"}))
    return drops


def _measures_in(condition: str) -> list[str]:
    """The measures that a condition names."""
    return [name for name in measures.NAMES if re.search(rf"\b{name}\b", condition)]


def _drops(rows: DataFrame, where: NDArray[np.bool_], why: Any) -> DataFrame:
    """Drops of the rows where the mask is true. why: reason and detail, of each or of all."""
    columns = {"stage": NAME, "reason": why["reason"], "detail": why["detail"]}
    return frames.with_columns(frames.pick(rows[["id"]], where), **columns)
