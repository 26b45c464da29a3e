"""prep export."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from pipeline import export as exports
from pipeline.cli.options import say
from pipeline.core.errors import PrepError
from pipeline.export import Export, Use, check, plan, write
from pipeline.share import pack


@click.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option("--to", "form", metavar="FORMAT", required=True, help=f"one of {', '.join(exports.names())}")
@click.option(
    "--out", type=click.Path(path_type=Path), help="folder to write  [default: NAME.FORMAT beside the manifest]"
)
@click.option(
    "--own-use",
    is_flag=True,
    help="all of it, for your own machines: what a licence forbids to pass on is in it, and says so",
)
@click.option("--shareable", is_flag=True, help="only what the licences let you pass on")
@click.option(
    "--audio",
    type=click.Choice(["copy", "link"]),
    help="webdataset: copy clips, or read them in their shards  [default: link]",
)
@click.option("--dry-run", is_flag=True, help="say what would be written, and how much; write nothing")
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
def export(
    path: Path,
    form: str,
    out: Path | None,
    own_use: bool,
    shareable: bool,
    audio: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write MANIFEST and its audio in the form that another tool reads: a folder with a README.md that says what to type.

    \b
    lhotse      cuts_<split>.jsonl.gz; virtual mixtures as MixedCut with the SNR that Lhotse means
    hf          Parquet with the audio in it, for datasets.load_dataset
    nemo        <split>.jsonl of audio_filepath, offset, duration, text
    kaldi       <split>/ with wav.scp, text, utt2spk, spk2utt, utt2dur
    webdataset  a list of labels for the shards as they are; with --audio copy, tars of .flac and .json
    csv         every column, no audio

    Audio, transcripts and labels of AI-Hub and of recordings of one's own may not be passed on: where a set holds any, an
    export is refused until one of two options says what it is for.

    \b
    Example:
      prep export manifests/mixed.parquet --to lhotse --own-use
      prep export manifests/cochlscene.parquet --to csv
    """
    held = pack.read_any(path)
    made = plan(held, form, _use(own_use, shareable), audio)
    folder = out or path.with_name(f"{path.stem}.{form}")
    check(made, folder)
    told = _told(made, folder, dry_run)
    if not as_json:
        _say(made, folder)
    if not dry_run:
        _write(made, folder)
    click.echo(json.dumps(told, ensure_ascii=False) if as_json else "nothing written" if dry_run else f"  -> {folder}")


def _write(made: Export, folder: Path) -> None:
    """With a progress bar. An export that is broken off leaves nothing, and says that and not that it goes on from there."""
    with closing(
        tqdm(total=len(made.rows), desc=f"export {made.form}", unit=" clips", disable=None, leave=False)
    ) as bar:
        try:
            write(made, folder, _counter(bar))
        except KeyboardInterrupt:
            bar.close()
            say(f"prep: stopped; {folder} was not written")
            raise click.exceptions.Exit(130) from None
        except OSError as error:
            raise PrepError(
                f"{error.filename or folder}: {error.strerror or error}; {folder} was not written"
            ) from None


def _counter(bar: Any) -> Callable[[int], None]:
    def advance(rows: int) -> None:
        bar.update(rows)

    return advance


def _use(own_use: bool, shareable: bool) -> Use:
    if own_use and shareable:
        raise PrepError("--own-use and --shareable: an export is for the one or for the other")
    return "own" if own_use else "shareable" if shareable else ""


def _told(made: Export, folder: Path, dry_run: bool) -> dict[str, Any]:
    told = {
        "format": made.form,
        "rows": len(made.rows),
        "hours": round(made.seconds / 3600, 4),
        "audio_bytes": made.size,
    }
    return told | {"left_out": [asdict(item) for item in made.left_out], "folder": None if dry_run else str(folder)}


def _say(made: Export, folder: Path) -> None:
    """The size before anything is written, on stdout; what is left out or must stay here, on stderr."""
    size = f"about {made.size / 1e9:.2f} GB of audio" if made.size else "no audio copied"
    click.echo(f"export {made.form}: {len(made.rows):,} rows, {made.seconds / 3600:.2f} h, {size}")
    for item in made.left_out:
        say(f"  left out: {item.column} of {item.corpus}, {item.rows:,} rows: {item.why}")
    if made.use == "own":
        say(f"  own use: {folder} may hold what licences forbid to pass on; its README.md says what")
