"""Filter: arithmetic over columns. Scenarios, durations, levels, transcripts, SQL; keywords; the dev split. Opens nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline.core import keys
from pipeline.core.errors import did_you_mean
from pipeline.core.row import Drop
from pipeline.core.table import Table, release
from pipeline.corpora.aihub import CLASSES, class_of
from pipeline.corpora.lexicon import Lexicon
from pipeline.stages import Options as StageOptions

NAME = "filter"
VERSION = 1
SPLITS = ("train", "dev", "test")  # least protected first: of a leak, the copy in the later split stays
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
    max_clipped: float = Field(0.05, ge=0, le=1, description="largest share of samples at full scale")
    max_zero: float = Field(0.9, ge=0, le=1, description="largest share of digital-zero samples")
    min_rate_hz: int = Field(8_000, ge=0, description="lowest rate of a source recording, Hz")
    transcript: bool = Field(True, description="speech must have a transcript")
    dev_share: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="share of the groups of train that become dev, for a corpus without a dev split of its own",
    )
    where: str | None = Field(None, min_length=1, description="SQL condition over the columns that a row must meet")

    @field_validator("scenarios")
    @classmethod
    def _known_scenarios(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Canonical names; aliases are accepted."""
        return tuple(_scenario(name) for name in names)

    @field_validator("splits")
    @classmethod
    def _known_splits(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SPLITS:
                raise ValueError(f'unknown split "{name}"{did_you_mean(name, SPLITS)}')
        return names


def _scenario(name: str) -> str:
    found = class_of(name)
    if found is None:
        raise ValueError(f'unknown scenario "{name}"{did_you_mean(name, CLASSES)}')
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that rows must meet. keep: SQL condition; value: SQL expression of what decides, as a person reads it.

    asked: what is asked of the value. broken: what follows the value in the sentence that a drop gets.
    """

    reason: str
    keep: str
    value: str
    asked: str
    broken: str

    @property
    def detail(self) -> str:
        """SQL expression of the sentence that says what decided."""
        return f"({self.value}) || '{self.broken}'"


def rules(options: Options) -> list[Rule]:
    """The rules in the order in which they are tried; a row is dropped by the first that it breaks."""
    seconds = "(frames / rate_hz)"
    length, level = f"printf('%.3f s', {seconds})", "printf('level %.1f dBFS', level_full_dbfs)"
    scenarios, splits = (
        ", ".join(f"'{name}'" for name in names) or "''" for names in (options.scenarios, options.splits)
    )
    listed = [
        Rule(
            "split",
            f"split IN ({splits})",
            "printf('split %s', split)",
            f"one of {', '.join(options.splits)}",
            " is not kept",
        ),
        Rule(
            "scenario",
            f"scenario IS NULL OR scenario IN ({scenarios})",
            "coalesce(printf('scenario %s', scenario), 'no scenario')",
            f"one of {', '.join(options.scenarios)}, or none",
            " is not kept",
        ),
        Rule(
            "too_short",
            f"{seconds} >= {options.min_s}",
            length,
            f"at least {options.min_s} s",
            f", shorter than {options.min_s} s",
        ),
        Rule(
            "too_long",
            f"kind = 'noise' OR {seconds} <= {options.max_s}",
            length,
            f"at most {options.max_s} s, but for noise",
            f", longer than {options.max_s} s",
        ),
        Rule(
            "low_rate",
            f"source_rate_hz >= {options.min_rate_hz}",
            "printf('%d Hz', source_rate_hz)",
            f"at least {options.min_rate_hz} Hz",
            f", lower than {options.min_rate_hz} Hz",
        ),
        Rule("silent", "level_full_dbfs IS NOT NULL", f"coalesce({level}, 'no signal at all')", "a signal", ""),
        Rule(
            "too_quiet",
            f"level_full_dbfs >= {options.min_level_dbfs}",
            level,
            f"at least {options.min_level_dbfs} dBFS",
            f", lower than {options.min_level_dbfs} dBFS",
        ),
    ]
    return listed + _shares(options) + ([_TRANSCRIPT] if options.transcript else [])


def _shares(options: Options) -> list[Rule]:
    return [
        Rule(
            reason,
            f"{column} <= {most}",
            f"printf('%.4f of the samples {what}', {column})",
            f"at most {most}",
            f", more than {most}",
        )
        for reason, column, most, what in (
            ("clipped", "clipped_share", options.max_clipped, "at full scale"),
            ("digital_zero", "zero_share", options.max_zero, "digital zero"),
        )
    ]


_TRANSCRIPT = Rule(
    "no_transcript",
    "kind <> 'speech' OR transcript IS NOT NULL",
    "CASE WHEN transcript IS NOT NULL THEN 'a transcript' ELSE printf('%s without a transcript', kind) END",
    "a transcript, where it is speech",
    " (kept with --no-transcript, or transcript = false)",
)


OF_LEVEL = ("silent", "too_quiet")  # rules on a level that later stages measure anew, of other samples


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of a row: the value that decides, what is asked of it, whether it is met."""

    rule: str
    value: str
    asked: str
    met: bool


def verdicts(row: Table, options: Options) -> list[Verdict]:
    """What each rule, `where` included, says of a row as ingest left it. row: a table of one."""
    tried = rules(options)
    told = row.derived(
        **{f"v{n}": f"[{rule.value}, CAST(coalesce({rule.keep}, false) AS VARCHAR)]" for n, rule in enumerate(tried)}
    )
    found = [(rule, *told.column(f"v{n}")[0]) for n, rule in enumerate(tried)]
    listed = [Verdict(rule.reason, value or "unknown", rule.asked, met == "true") for rule, value, met in found]
    if options.where is not None:
        listed.append(Verdict("where", "the row's columns", options.where, bool(row.select(options.where)[0])))
    return listed


def dev_draw(seed: int, corpus: str, groups: Sequence[str]) -> NDArray[np.float64]:
    """float64 [groups] in [0, 1): the draw of each group of a corpus without a dev split; below `dev_share` it becomes dev."""
    return keys.draws(seed, f"dev {corpus}", groups)[:, 0]


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """The rows kept, the drops, and sentences for a person."""

    rows: Table
    drops: Table
    notes: list[str]


def apply(rows: Table, options: Options, lexicon: Lexicon, seed: int) -> Filtered:
    """The rows that meet every rule, with keyword and dev split; drops of the others and of what would leak between splits.

    RecipeError where `where` does not run.
    """
    drops, kept = _ruled(rows.ordered(), options)
    del rows  # a table of millions of rows
    release()
    if options.where is not None:
        meets = kept.select(options.where)
        drops.append(_drops(kept.where(~meets), "where", f"does not meet: {options.where}"))
        kept = kept.where(meets)
    kept, notes = _dev_carved(kept, options, seed)
    for column in ("group", "source_pcm_hash"):
        kept, lost = apart(kept, column, NAME)
        drops.append(lost)
    return Filtered(_with_keyword(kept, lexicon), Table.joined(drops, Drop), notes)


def _ruled(rows: Table, options: Options) -> tuple[list[Table], Table]:
    tried = rules(options)
    reasons = " ".join(f"WHEN NOT coalesce({rule.keep}, false) THEN '{rule.reason}'" for rule in tried)
    details = " ".join(f"WHEN NOT coalesce({rule.keep}, false) THEN {rule.detail}" for rule in tried)
    verdicts = rows.derived(reason=f"CASE {reasons} END", detail=f"CASE {details} END")
    broken = verdicts.present("reason")
    drops = rows.only(["id"]).where(broken).filled(stage=NAME).beside(verdicts.where(broken))
    return [drops.as_kind(Drop)], rows.where(~broken)


def _drops(rows: Table, reason: str, detail: str | Sequence[str]) -> Table:
    table = rows.only(["id"])
    return table.filled(stage=NAME, reason=reason, detail=detail if isinstance(detail, str) else list(detail)).as_kind(
        Drop
    )


def _with_keyword(rows: Table, lexicon: Lexicon) -> Table:
    codes, transcripts = rows.codes("transcript")
    return rows.spread("keyword", codes, [lexicon.keyword(transcript) for transcript in transcripts])


def _dev_carved(rows: Table, options: Options, seed: int) -> tuple[Table, list[str]]:
    """A keyed share of the groups of `train` moved to `dev`, in each corpus that has none of its own."""
    notes, split_codes, splits = [], *rows.codes("split")
    moved = np.zeros(len(rows), dtype=np.bool_)
    for corpus in (
        sorted(set(rows.codes("corpus")[1]), key=str) if options.dev_share and "dev" in options.splits else []
    ):
        own = rows.equal("corpus", str(corpus))
        if (own & rows.equal("split", "dev")).any() or not (own & rows.equal("split", "train")).any():
            continue
        own &= rows.equal("split", "train")
        codes, groups = rows.where(own).codes("group")
        drawn = dev_draw(seed, str(corpus), [str(group) for group in groups]) < options.dev_share
        moved[own] = drawn[codes]
        notes.append(
            f"{corpus}: {int(drawn.sum())} of {len(groups)} groups of train became dev (dev_share {options.dev_share})"
        )
        if not drawn.any():
            notes[-1] += ": its dev split is empty; raise dev_share if you need one"
    names = [*[str(split) for split in splits], "dev"]
    return rows.spread("split", np.where(moved, len(names) - 1, split_codes), names), notes


def apart(rows: Table, column: str, stage: str) -> tuple[Table, Table]:
    """(the rows of which no value of this column is in two splits, drops of the others, which the less protected split loses).

    column: `group`, or a hash of samples.
    """
    leaks, sentences = _leaks(rows, column)
    reason = "group_in_two_splits" if column == "group" else "audio_in_two_splits"
    return rows.where(~leaks), rows.where(leaks).only(["id"]).filled(
        stage=stage, reason=reason, detail=sentences
    ).as_kind(Drop)


def _leaks(rows: Table, column: str) -> tuple[NDArray[np.bool_], list[str]]:
    """(where a row shares this column's value with a row of a more protected split, what to say of each such row)."""
    codes = rows.classes(column)
    if column == "group":  # a group is one of its corpus
        corpus_codes, corpus_names = rows.codes("corpus")
        codes = codes * len(corpus_names) + corpus_codes
    split_codes, splits = rows.codes("split")
    rank = np.array([SPLITS.index(str(split)) for split in splits] or [0], dtype=np.int64)[split_codes]
    highest = np.zeros(int(codes.max()) + 1 if len(codes) else 0, dtype=np.int64)
    np.maximum.at(highest, codes, rank)
    leaks = rank < highest[codes]
    what = "group" if column == "group" else "identical audio"
    return leaks, [f"its {what} is in {SPLITS[split]} too, where it stays" for split in highest[codes[leaks]]]
