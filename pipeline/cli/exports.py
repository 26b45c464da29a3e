"""prep export."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from pipeline import export as exports
from pipeline.cli.emit import emit
from pipeline.cli.options import AS_JSON, say
from pipeline.core.errors import PrepError
from pipeline.export import Export, check, plan, write
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
@AS_JSON
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
    """Write MANIFEST and its audio in the form that another tool reads: a folder, whose README.md says how to load it.

    \b
    lhotse      cuts_<split>.jsonl.gz; virtual mixtures as MixedCut with the SNR that Lhotse means
    hf          Parquet with the audio in it, for datasets.load_dataset
    nemo        <split>.jsonl of audio_filepath, offset, duration, text
    kaldi       <split>/ with wav.scp, text, utt2spk, spk2utt, utt2dur
    webdataset  a list of labels for the shards as they are; with --audio copy, tars of .flac and .json
    csv         every column, no audio

    Audio, transcripts and labels of AI-Hub and of your own recordings may not be passed on. If a set holds any, --own-use
    or --shareable must say what the export is for.

    \b
    Example:
      prep export manifests/mixed.parquet --to lhotse --own-use
      prep export manifests/cochlscene.parquet --to csv
    """
    if own_use and shareable:
        raise PrepError("--own-use and --shareable: an export is for the one or for the other")
    made = plan(pack.read_any(path), form, "own" if own_use else "shareable" if shareable else "", audio)
    folder = out or path.with_name(f"{path.stem}.{form}")
    check(made, folder)
    hours = made.seconds / 3600
    if not as_json:  # the size is said before anything is written
        size = f"about {made.size / 1e9:.2f} GB of audio" if made.size else "no audio copied"
        click.echo(f"export {form}: {len(made.rows):,} rows, {hours:.2f} h, {size}")
        for item in made.left_out:
            say(f"  left out: {item.column} of {item.corpus}, {item.rows:,} rows: {item.why}")
        if made.use == "own":
            say(f"  own use: {folder} may hold what licences forbid to pass on; its README.md says what")
    if not dry_run:
        _write(made, folder)
    answer = {
        "format": form,
        "rows": len(made.rows),
        "hours": round(hours, 4),
        "audio_bytes": made.size,
        "left_out": [asdict(item) for item in made.left_out],
        "folder": None if dry_run else str(folder),
    }
    emit(answer, as_json, lambda: ["nothing written" if dry_run else f"  -> {folder}"])


def _write(made: Export, folder: Path) -> None:
    """With a progress bar. An export that is broken off leaves nothing, and the message says so."""
    name = f"export {made.form}"
    with closing(tqdm(total=len(made.rows), desc=name, unit=" clips", disable=None, leave=False)) as bar:
        try:
            write(made, folder, bar.update)
        except KeyboardInterrupt:
            bar.close()
            say(f"prep: stopped; {folder} was not written")
            raise click.exceptions.Exit(130) from None
        except OSError as error:
            why = f"{error.filename or folder}: {error.strerror or error}"
            raise PrepError(f"{why}; {folder} was not written") from None
