"""prep lexicon: what a lexicon makes of sentences, and which sentences of a set come near a call."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline.cli.emit import AS_JSON, Table, emit
from pipeline.core.errors import PrepError, RecipeError
from pipeline.core.texts import read
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora import near as nears
from pipeline.corpora.lexicon import LEXICON, Lexicon
from pipeline.share import pack

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", "file", type=FILE, help="also the lines of this text, a sentence each; - is standard input")
@click.option("--lexicon", "words", type=FILE, help="TOML file of keywords and phrases  [default: the shipped one]")
@click.option(
    "--near", "manifest", type=FILE, metavar="MANIFEST", help="sentences of its transcripts that only come near a call"
)
@AS_JSON
def lexicon(
    texts: tuple[str, ...], file: Path | None, words: Path | None, manifest: Path | None, as_json: bool
) -> None:
    """Say for each TEXT the label of the data, the decision of a detector, and the phrase or guard that decided.

    The label compares the whole sentence with the lexicon's spellings. The decision looks for its phrases anywhere in
    the sentence. Without TEXT, --file and --near the lexicon's examples are executed: exit 1 if one does not hold.

    \b
    Example:
      prep lexicon "저기요, 도와주세요!" "도와줘서 고마워"
      prep lexicon --near manifests/aihub.parquet
    """
    chosen = lexicons.read(words) if words else lexicons.shipped()
    if manifest is not None:
        if texts or file:
            raise PrepError("--near looks through a manifest: leave out TEXT and --file, or ask twice")
        near = nears.near(pack.read_columns(manifest, ["transcript"])["transcript"].dropna(), chosen)
        rows = [(each.distance, each.rows, each.near, each.guard or "-", each.text) for each in near]
        lines: list[str | Table] = [f"{len(near):,} sentences come near a call and are none"]
        lines += [[("distance", "rows", "near", "guard", "text"), *rows]] if rows else []
        emit([asdict(each) for each in near], as_json, lambda: lines)
    elif texts or file:
        sentences = list(texts)
        try:
            if file is not None:
                text = click.open_file("-", encoding="utf-8-sig").read() if str(file) == "-" else read(file)
                sentences += [line.strip() for line in text.splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise PrepError(f"{file}: cannot be read as UTF-8 text, a sentence a line ({error})") from None
        answer = [_answer(text, chosen) for text in sentences]
        table: list[tuple[str, ...]] = [("label", "decision", "phrase", "text")]
        for each in answer:
            calls = "; ".join(f"{call['keyword']}: {call['phrase']}" for call in each["calls"])
            phrase = calls if len(each["calls"]) > 1 else each["phrase"]
            table.append((each["label"] or "-", each["decision"] or "-", phrase or "-", each["text"]))
        emit(answer, as_json, lambda: [table])
    else:
        place, faults = words or Path(LEXICON), chosen.example_faults()
        if faults and not as_json:
            raise RecipeError([f"{place}: {fault}" for fault in faults])
        count = len(chosen.spotter.examples) if chosen.spotter else 0
        counts = {"lexicon": str(place), "examples": count, "faults": faults}
        emit(counts, as_json, lambda: [f"{place}: {count} examples hold"])
        if faults:
            raise SystemExit(1)


def _answer(text: str, chosen: Lexicon) -> dict[str, Any]:
    """What --json says of a sentence. phrase: that of the first call, or `guard NAME: the phrase it speaks against`."""
    decision = chosen.decision(text)
    return {
        "text": text,
        "label": chosen.keyword(text),
        "decision": decision.keyword,
        "phrase": f"guard {decision.guard}: {decision.phrase}" if decision.guard else decision.phrase,
        "calls": [{"keyword": call.keyword, "phrase": call.phrase} for call in decision.calls],
    }
