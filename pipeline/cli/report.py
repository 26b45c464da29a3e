"""prep report."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from pipeline.cli.emit import emit
from pipeline.cli.options import say
from pipeline.core import files, manifest
from pipeline.core.errors import PrepError, to_install
from pipeline.share import pack


@click.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="file to write  [default: MANIFEST's name with .html, beside it]"
)
@click.option(
    "--baseline", type=click.Path(path_type=Path), metavar="OTHER", help="also say what changed since this manifest"
)
@click.option(
    "--with-audio/--redact",
    "audio",
    default=None,
    help="put in all audio, transcripts and labels, with a warning on the page; or leave out all audio and transcripts"
    "  [default: what each corpus's licence lets be passed on]",
)
@click.option("--listen", is_flag=True, help="also do the audit's checks that open audio, as prep audit does")
@click.option("--json", "as_json", is_flag=True, help="answer with the page's numbers in JSON")
def report(
    path: Path, out: Path | None, baseline: Path | None, audio: bool | None, listen: bool, as_json: bool
) -> None:
    """Write a page to look at: what is in MANIFEST, what was dropped and why, SNRs, levels, clips, licences, provenance.

    One HTML file that holds all it shows and fetches nothing. Needs the extra [report].

    \b
    Example:
      prep report manifests/mixed.parquet
      prep report manifests/mixed.parquet --baseline manifests/resampled.parquet --out changes.html
    """
    place = out or path.with_suffix(".html")
    if place.suffix == ".parquet":
        raise PrepError(
            f"--out {place}: a page is no manifest; expected a name such as {place.with_suffix('.html').name}"
        )
    pages = _pages()
    packed = pack.read(path) if pack.is_pack(path) else None
    before = pack.read_any(baseline) if baseline else None
    opened = packed.manifest if packed else manifest.read(path)
    page = pages.page(opened, pages.Options(audio, before, listen, packed))
    write(place, page.text)
    for name in page.numbers["passed_over"]:
        say(f"{place} holds what the licence of {name} forbids to pass on: keep it to yourself")
    answer = {"report": str(place), "bytes": len(page.text.encode()), **page.numbers}
    emit(answer, as_json, lambda: _lines(answer))


def _pages() -> Any:
    """The module that makes pages. PrepError where the extra is not installed."""
    try:
        return import_module("pipeline.inspect.report.page")
    except ModuleNotFoundError as error:
        raise PrepError(f"prep report needs the package {error.name}: {to_install('report')}") from None


def write(path: Path, text: str) -> None:
    """The page, whole or not at all."""
    try:
        with files.replacing(path) as half:
            half.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PrepError(
            f"{path}: {error.strerror or error}; the page was not written, name another place with --out"
        ) from None


def _lines(answer: dict[str, Any]) -> list[str]:
    left_out = answer["left_out"]["audio"]
    sounds = f"{answer['sounds']} clips to listen to"
    without = f"; without audio, transcripts and labels of {', '.join(left_out)}" if left_out else ""
    return [
        f"{answer['manifest']}: {answer['totals']['rows']:,} rows, {sounds}{without}",
        f"-> {answer['report']} ({answer['bytes'] / 1e6:.1f} MB)",
    ]
