"""What happened to one clip: where its bytes lie, what each stage measured and decided, which mixtures it is in.

A fact is a pair: what it is about, and a sentence. Each stage has one function that yields its facts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.audio.shards import AUDIO_FOLDER
from pipeline.core import frame, manifest, measures, sql
from pipeline.core.errors import ManifestError, PrepError, SourceError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora import rights
from pipeline.corpora.lexicon import Lexicon
from pipeline.stages import ORDER, filter, mix, splits
from pipeline.stages.filter import Verdict

Facts = Iterator[tuple[str, str]]
MOST_MIXTURES, MOST_IDS = 8, 3  # listed one by one
_MIXTURE = re.compile(r"(?P<speech>.+)_snr(?P<snr>-?[\d.e+-]+(?:to-?[\d.]+)?)_(?P<copy>\d+)")


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What a manifest holds of a clip.

    row: the clip's own row. mixtures: those that have it as speech or, where there are none, as noise. mixture: the one
    that was named. recording: a row that describes the clip's recording: its own, else a mixture that has it as speech.
    drops: those of the clip and, unless a mixture was named, of all its mixtures.
    """

    path: Path
    made: Provenance
    row: Row | None
    mixtures: pd.DataFrame
    mixture: Row | None
    recording: Row | None
    drops: list[Drop]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the manifest documents: its own or, where a recipe made it as a whole, all up to its own."""
        if self.made.inputs or self.made.stage not in ORDER:
            return (self.made.stage,)
        return ORDER[: ORDER.index(self.made.stage) + 1]


def explain(
    row_id: str, paths: Sequence[Path], roots: Roots, lexicon: Lexicon, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """What `prep explain --json` answers: the id, what is known of the recording, and a chapter for each stage.

    row_id: id of a clip or of a mixture, or an ending that only one id has. paths: the manifests to look through.
    lexicon: the one by which filter may have given the keyword. say: gets a sentence before a search that takes time.
    `row` holds what is not null of the last row that is the clip, or the mixture that was named. PrepError where no id
    matches, or several do; ManifestError where a path is no manifest.
    """
    by_path = {path: manifest.provenance(path) for path in paths}
    rank = {path: ORDER.index(made.stage) if made.stage in ORDER else len(ORDER) for path, made in by_path.items()}
    ordered = sorted(by_path, key=lambda path: (rank[path], -len(by_path[path].inputs), str(path)))
    clip, mixture = _match(row_id, ordered, roots, say)
    entries = [entry for path in ordered if (entry := _entry(path, by_path[path], clip, mixture))]
    chapters = [chapter for entry in entries for chapter in _chapters(entry, entries, lexicon)]
    if entries and not any(drop["id"] == clip for chapter in chapters for drop in chapter["ends"]):
        known = [entry.path for entry in entries]
        for path in ordered[ordered.index(known[0]) + 1 :]:  # of a later stage, and hold nothing of the clip
            made = by_path[path]
            if path in known or made.stage == "ingest":
                continue
            limit = made.recipe.get("limit")
            why = f"it was made with --limit {limit}" if limit else "it was made from other manifests than these"
            absent = [{"about": "absent", "said": f"neither a row nor a drop here: {why}"}]
            chapters.append({"stage": made.stage, "manifest": str(path), "facts": absent, "rules": [], "ends": []})
    rows = [row for entry in entries for row in (entry.recording, entry.mixture) if row]
    facts = _place(rows[-1].source, roots) if rows else _recordings_called(clip, roots)
    values = [(f.name, getattr(rows[-1], f.name)) for f in fields(Row)] if rows else []
    return {
        "id": clip,
        "mixture": mixture,
        "facts": _as_json(facts),
        "chapters": chapters,
        "row": {name: value for name, value in values if value is not None},
    }


def _as_json(facts: Facts) -> list[dict[str, str]]:
    return [{"about": about, "said": sentence} for about, sentence in facts]


# ---- which clip is meant


def _match(word: str, paths: Sequence[Path], roots: Roots, say: Callable[[str], None]) -> tuple[str, str | None]:
    """(id of the recording, id of the mixture if one is meant) for an id, or for an ending that only one id has."""
    if not any(frame.equal(_ids(path), word).any() for path in paths):
        ids = pd.concat([_ids(path) for path in paths], ignore_index=True)
        for ending in (f"/{word}", word):
            matches = sorted(ids[ids.str.endswith(ending)].unique())
            if len(matches) > 1:
                several = f"{', '.join(matches[:MOST_IDS])}{', ...' if len(matches) > MOST_IDS else ''}"
                raise PrepError(f'{len(matches):,} ids end in "{word}": {several}')
            if matches:
                word = matches[0]
                break
        else:
            raise PrepError(_no_match(word, ids, paths, roots, say))
    mixture = _MIXTURE.fullmatch(word)
    kinds = [kind for path in paths for kind in manifest.read_rows(path, "id", word)["kind"]]
    if mixture and all(kind == "mixture" for kind in kinds):  # else it is a recording whose name looks like a mixture's
        return mixture["speech"], word
    return word, None


def _ids(path: Path) -> pd.Series[str]:
    """Every id that a manifest names: of rows, of the speech in them, of drops; some more than once."""
    rows = manifest.read_columns(path, ["id", "speech_id"])
    return pd.concat([rows["id"], rows["speech_id"].dropna(), _drops(path)["id"]], ignore_index=True)


def _drops(path: Path) -> pd.DataFrame:
    """The drops of a manifest; none where they do not lie beside it."""
    try:
        return manifest.read_drops(path)
    except ManifestError:
        return frame.from_rows([], Drop)


def _no_match(word: str, ids: pd.Series[str], paths: Sequence[Path], roots: Roots, say: Callable[[str], None]) -> str:
    """That nothing has this id, which ids are near, and whether a recording of that name lies under a root."""
    quoted, most = word.replace("'", "''"), max(2, len(word) // 5)
    letters = f"least(levenshtein(id, '{quoted}'), levenshtein(id[-{len(word)}:], '{quoted}'))"
    nearest = f"SELECT DISTINCT id, {letters} AS n FROM rows WHERE n <= {most} ORDER BY n, id LIMIT {MOST_IDS}"
    near = [str(row_id) for row_id, _ in sql.query(ids.to_frame("id"), nearest)]
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    lines = [f'no id is, or ends in, "{word}": neither a row nor a drop of {", ".join(map(str, paths))}.{meant}']
    if not len(roots):
        return lines[0]
    say("looking for a recording of that name under the roots ...")
    facts = list(_recordings_called(word, roots))
    where = [sentence for about, sentence in facts if about == "bytes"]
    lines += [f"But a recording of that name is there: {sentence}. Ingest its corpus again." for sentence in where]
    lines += [sentence for about, sentence in facts if about == "root"]
    if not facts:
        lines.append(f"Nor is there a recording of that name under the roots of {', '.join(roots)}.")
    return "\n".join(lines)


def _entry(path: Path, made: Provenance, clip: str, mixture: str | None) -> Entry | None:
    row = next(frame.rows(manifest.read_rows(path, "id", clip), Row), None)
    as_speech = frame.ordered(manifest.read_rows(path, "speech_id", clip), ["id"])
    mixtures = as_speech if len(as_speech) else frame.ordered(manifest.read_rows(path, "noise_id", clip), ["id"])
    named = next(frame.rows(frame.pick(mixtures, frame.equal(mixtures["id"], mixture or "")), Row), None)
    all_drops = _drops(path)
    own = frame.equal(all_drops["id"], clip) | frame.equal(all_drops["id"], mixture or "")
    if mixture is None:
        own |= all_drops["id"].str.startswith(f"{clip}_snr").to_numpy(np.bool_)
    drops = list(frame.rows(frame.pick(all_drops, own), Drop))
    if row is None and not len(mixtures) and not drops:
        return None
    return Entry(path, made, row, mixtures, named, row or next(frame.rows(as_speech, Row), None), drops)


# ---- where its bytes lie


def _place(source: str, roots: Roots) -> Facts:
    """What a recording is called, and where its bytes lie on this machine."""
    name = source.removeprefix("@").partition("/")[0]
    yield "source", f"{source}   ({rights.terms_of(name).title})"
    if name not in roots:
        yield "bytes", f"unknown: --root {name}=DIR tells where the corpus lies on this machine"
        return
    try:
        place = corpora.find(name).places(roots[name]).get(source)
    except SourceError as error:
        yield "bytes", str(error).splitlines()[0]
        return
    where = roots.where(name)
    if place is None:
        yield "bytes", f"nowhere under {where}: the corpus was moved or changed, or this is another part of it"
        return
    how = "as they are" if place.method <= 0 else f"packed into {place.packed:,}"
    yield "bytes", f"{place.size:,}, {how}, at byte {place.offset:,} of {where}/{place.container}"


def _recordings_called(row_id: str, roots: Roots) -> Facts:
    """Recordings whose names end as an id does: under the root of its corpus, or under all if it names no corpus."""
    corpus, _, rest = row_id.partition("/")
    for name in [corpus] if corpus in roots else list(roots) if not rest else []:
        try:
            sources = list(corpora.find(name).places(roots[name]))
        except SourceError as error:
            yield "root", str(error).splitlines()[0]
            continue
        for source in sources:
            if source.endswith(f"/{row_id.rpartition('/')[2]}"):
                yield from _place(source, roots)


# ---- what the stages did


def _chapters(entry: Entry, entries: Sequence[Entry], lexicon: Lexicon) -> Iterator[dict[str, Any]]:
    """A chapter for each stage that this manifest documents and no earlier one did."""
    earlier = {stage for other in entries[: entries.index(entry)] for stage in other.stages}
    for stage in entry.stages:
        ends = [asdict(drop) for drop in entry.drops if drop.stage == stage]
        if stage in earlier & {"ingest", "resample"} and not ends:  # filter and mix may have other options here
            continue
        verdicts = _verdicts(entry, entries) if stage == "filter" else []
        rules = [{"rule": v.rule, "value": v.value, "asked": v.required, "met": v.met} for v in verdicts]
        facts: Facts = iter(())
        if stage == "mix":
            facts = mix_facts(entry)
        elif entry.recording and stage == "filter":
            facts = filter_facts(entry, entry.recording, entries, lexicon)
        elif entry.recording:
            of_stage = {"ingest": ingest_facts, "resample": resample_facts, manifest.EDITED: edit_facts}
            facts = of_stage[stage](entry, entry.recording) if stage in of_stage else iter(())
        chapter = {"facts": _as_json(facts), "rules": rules, "ends": ends}
        if any(chapter.values()):
            yield {"stage": stage, "manifest": str(entry.path)} | chapter


def ingest_facts(entry: Entry, row: Row) -> Facts:
    """What the corpus claims, and what ingest measured."""
    claims = {"class": row.scenario, "transcript": row.transcript}
    if row.kind != "mixture":  # there the scene is that of the noise
        claims["scene"] = row.scene
    yield from ((about, value) for about, value in claims.items() if value is not None)
    if row.labels:
        yield "labels", ", ".join(f"{key} {value}" for key, value in row.labels.items())
    if row.source_frames and row.source_rate_hz:
        form = f"{row.source_format}, {row.source_rate_hz:,} Hz, channels {row.source_channels}"
        yield "recording", f"{row.source_frames / row.source_rate_hz:.3f} s, {row.source_frames:,} frames, {form}"
    if entry.made.stage in ("ingest", "filter"):
        yield "level", f"{_dbfs(row.level_full_dbfs)} (RMS), peak {_dbfs(row.peak_dbfs)}"
    dc = "" if row.dc_dbfs is None else f", DC {_dbfs(row.dc_dbfs)}"
    yield "samples", f"{row.clipped_share or 0:.4%} clipped, {row.zero_share or 0:.4%} digital zero{dc}"
    yield "pcm hash", str(row.source_pcm_hash)
    unknown = " (nobody knows who speaks: the hash of its samples)" if row.group == row.source_pcm_hash else ""
    yield "group", f"{row.group}{unknown}"


def _as_ingested(entry: Entry, entries: Sequence[Entry]) -> Row | None:
    """The clip's row as ingest left it; filter changes none of its columns that the rules look at, but the split."""
    rows = [other.row for other in entries if other.made.stage == "ingest" and other.row]
    return rows[0] if rows else entry.row if entry.made.stage == "filter" else None


def _verdicts(entry: Entry, entries: Sequence[Entry]) -> list[Verdict]:
    """What the rules of filter say of the clip: all of them, or those that can be checked without its row of ingest."""
    options = filter.Options.of(entry.made.recipe, "filter")
    row = _as_ingested(entry, entries)
    measured = measures.read_all(other.path for other in entries if other.made.stage == "ingest")
    if row or entry.recording is None:
        return filter.verdicts(row, options, measured) if row else []
    row = entry.recording
    kind = "noise" if row.noise_label == "noise" else "speech"
    row = replace(row, kind=kind, frames=row.source_frames, rate_hz=row.source_rate_hz)
    verdicts = filter.verdicts(row, options, measured)
    return [verdict for verdict in verdicts if verdict.rule not in filter.OF_LEVEL]


def filter_facts(entry: Entry, row: Row, entries: Sequence[Entry], lexicon: Lexicon) -> Facts:
    """Why the clip is in its split, and what gave its keyword."""
    recipe = entry.made.recipe
    share = filter.Options.of(recipe, "filter").dev_share
    before = [other.row.split for other in entries if other.made.stage == "ingest" and other.row]
    draw = float(splits.dev_draw(entry.made.seed, row.corpus, [row.group])[0])
    if row.split == "dev" and before != ["dev"] and (recipe.get("filter") or {}).get("dev") == "balanced":
        yield "split", f"dev, carved from train so that each keyword is in it: the draw of its group is {draw:.4f}"
    elif row.split == "dev" and draw < share and before != ["dev"]:
        yield "split", f"dev, carved from train: the draw of its group, {draw:.4f}, is below dev_share {share}"
    elif row.split == "train" and draw >= share:
        why = f"the draw of its group, {draw:.4f}, is not below dev_share {share}"
        yield "split", f"train, as the corpus has it: {why}"
    else:
        yield "split", f"{row.split}, as the corpus has it"
    if _as_ingested(entry, entries) is None:
        rules = " and ".join(filter.OF_LEVEL)
        yield "not told", f"the rules {rules}: the level that ingest measured is not in this manifest"
    options = filter.Options.of(recipe, "filter")
    if (whole := _as_ingested(entry, entries)) and whole.transcript != row.transcript:
        yield "words", f'"{row.transcript or ""}", the transcript without notation (--text {options.text})'
    if row.keyword is not None:
        spelling = lexicons.normalised(row.transcript or "")
        if lexicons.identity(lexicon) != recipe.get("lexicon"):
            where = f'for "{spelling}", by a lexicon that is not at hand: name it with --lexicon'
            yield "keyword", f"{row.keyword}, {where}"
        else:
            where = "under it" if spelling in lexicon.spellings else "nowhere"
            yield "keyword", f'{row.keyword}: "{spelling}" stands {where} in the lexicon'


def resample_facts(entry: Entry, row: Row) -> Facts:
    """How the clip is stored at the new rate."""
    if entry.row is None:
        how = f"resampled to {row.rate_hz:,} Hz as it was mixed, not stored alone"
        yield "audio", f"{how}; hash of its samples {row.speech_pcm_hash}"
        return
    if row.rate_hz and row.frames:
        gain = f", attenuated by {-row.gain_db:.4f} dB, or it would have passed full scale" if row.gain_db else ""
        yield "audio", f"{row.frames / row.rate_hz:.3f} s, {row.frames:,} frames at {row.rate_hz:,} Hz{gain}"
    active = (
        f"; active speech {_dbfs(row.level_active_dbfs)} in {row.activity:.1%} of it"
        if row.activity is not None
        else ""
    )
    yield "level", f"{_dbfs(row.level_full_dbfs)} (RMS), peak {_dbfs(row.peak_dbfs)}{active}"
    yield from _stored(entry, row)


def mix_facts(entry: Entry) -> Facts:
    """The mixture that was named, the mixtures of the clip, or how often it was drawn as noise."""
    mixtures, number = entry.mixtures, len(entry.mixtures)
    if entry.mixture:
        yield from mixture_facts(entry, entry.mixture)
    elif entry.row and not number:
        yield "kept", "as it is, mixed with nothing"
    elif number and entry.recording and entry.recording.kind != "noise":
        for row in islice(frame.rows(mixtures, Row), MOST_MIXTURES):
            yield "mixture", f"{row.id}: {row.noise_id} at {_decibels(row.snr_db)}, {row.snr_definition}"
        if number > MOST_MIXTURES:
            yield "mixture", f"... {number:,} in all"
    elif number:
        by_split = "SELECT split, count(*), count(DISTINCT speech_id) FROM rows GROUP BY 1 ORDER BY 1"
        for split, count, speech in sql.query(mixtures, by_split):
            yield "drawn", f"into {count:,} mixtures of {speech:,} utterances of {split}"
        by_snr = sql.query(mixtures, "SELECT split, snr_db, count(*) FROM rows GROUP BY 1, 2 ORDER BY 1, 2")
        if len(by_snr) <= MOST_MIXTURES:
            yield "at", ", ".join(f"{_decibels(snr)} {count:,}" for _, snr, count in by_snr)
        yield "for example", ", ".join(mixtures["id"].head(3))


def mixture_facts(entry: Entry, row: Row) -> Facts:
    """The noise that was drawn, where it was cut, how loud it was made, and what came out."""
    options = mix.Options.of(entry.made.recipe, "mix")
    try:
        noise = manifest.read_rows(entry.path, "kind", "noise")
        drawn = mix.draw_of(row, noise, options, entry.made.seed)
    except PrepError:  # the manifest lacks the noise from which the options draw
        drawn = None
    same = drawn is not None and drawn.noise_id == row.noise_id
    yield "mixture", row.id
    yield "noise", f"{row.noise_id} ({row.scene}), {row.noise_source}"
    if drawn and same:
        draw = f"the draw of this utterance and copy {row.variant}: {drawn.draw:.6f}"
        yield "drawn", f"one of {drawn.pool:,} recordings of {row.split}; {draw}"
    else:
        again = f"drawn again from this manifest's noise it would be {drawn.noise_id}" if drawn else ""
        why = again or "none of them is in this manifest"
        yield "drawn", f"from other noise than this manifest holds ({why})"
    if row.noise_start is not None and row.rate_hz and row.frames:
        cut = f"from frame {row.noise_start:,} ({row.noise_start / row.rate_hz:.3f} s), {row.frames:,} frames"
        if drawn and same:
            looped = ", looped" if row.noise_start + row.frames > drawn.noise_frames else ""
            cut += f" of {drawn.noise_frames:,}{looped}"
        if drawn and same and row.noise_start in drawn.starts:
            number = drawn.starts.index(row.noise_start) + 1
            before = f"crop {number} of those drawn, the ones before were silent"
            cut += f"; {'the first crop drawn' if number == 1 else before}"
        yield "crop", cut
    tag, snr = row.id.removeprefix(f"{row.speech_id}_snr").rpartition("_")[0], _decibels(row.snr_db)
    if "to" in tag:
        draw = f" (the draw: {drawn.snr_draw:.6f})" if drawn else ""
        snr += f", drawn from {tag.replace('to', ' to ')} dB{draw}"
    yield "SNR asked", f"{snr}, by the definition {row.snr_definition}"
    realised = f"active {_decibels(row.snr_active_db, 4)}, full {_decibels(row.snr_full_db, 4)}"
    yield "SNR realised", f"{realised}, in the samples as stored"
    alike = ": both were attenuated alike, their sum passed full scale" if row.gain_db else ""
    yield "gains", f"speech {row.gain_db} dB, noise {row.noise_gain_db} dB{alike}"
    active = f"{_dbfs(row.level_active_dbfs)} in {row.activity:.1%} of it" if row.activity is not None else "none"
    yield "levels", f"{_dbfs(row.level_full_dbfs)} (RMS), peak {_dbfs(row.peak_dbfs)}; active speech in it {active}"
    yield "parts", f"speech {row.speech_pcm_hash}, noise {row.noise_pcm_hash}"
    yield from _stored(entry, row)


def edit_facts(entry: Entry, row: Row) -> Facts:
    """What was changed by hand in the manifest, of this row or of others."""
    edit = entry.made.recipe[manifest.EDITED]
    changes = f"{', '.join(edit['columns'])} in {edit['rows']:,} rows" if edit["columns"] else "no column"
    yield "by hand", f"{changes} of {', '.join(entry.made.inputs)} changed, {edit['removed']:,} rows removed"


def _stored(entry: Entry, row: Row) -> Facts:
    """The hash of a row's samples, and where they lie beside the manifest."""
    yield "pcm hash", str(row.pcm_hash)
    if row.shard is None:
        yield "stored", "nowhere: a virtual mixture, which the reader renders from this row"
    else:
        shard = entry.path.parent / AUDIO_FOLDER / row.shard
        absent = "" if shard.exists() else " (NOT THERE)"
        yield "stored", f"{row.bytes:,} bytes at byte {row.offset:,} of {shard}{absent}"


def _dbfs(level: float | None) -> str:
    return "silent" if level is None else f"{level:.2f} dBFS"


def _decibels(value: float | None, digits: int = 2) -> str:
    return "unknown" if value is None else f"{round(value, digits):g} dB" if digits < 4 else f"{value:.{digits}f} dB"


# ---- for a person


def lines(answer: dict[str, Any]) -> Iterator[str | Sequence[Sequence[Any]]]:
    """The answer of `explain` for a person: sentences, and tables with the names of the columns first."""
    yield answer["mixture"] or answer["id"]
    if answer["mixture"]:
        yield f"made of {answer['id']}"
    yield from (f"  {fact['about']:<13} {fact['said']}" for fact in answer["facts"])
    for chapter in answer["chapters"]:
        yield from ("", f"{chapter['stage']}   {chapter['manifest']}")
        yield from (f"  DROPPED       {end['id']}: {end['reason']}: {end['detail']}" for end in chapter["ends"])
        rules = [(r["rule"], r["value"], r["asked"], "met" if r["met"] else "BROKEN") for r in chapter["rules"]]
        if rules:
            yield [("  rule", "value", "required", "result"), *((f"  {name}", *cells) for name, *cells in rules)]
        yield from (f"  {fact['about']:<13} {fact['said']}" for fact in chapter["facts"])
