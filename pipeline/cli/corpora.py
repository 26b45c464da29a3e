"""prep corpora."""

from __future__ import annotations

import json

import click

from pipeline import corpora as known
from pipeline.archives import Roots
from pipeline.cli.common import roots_told


@click.command()
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
@click.option(
    "--root", multiple=True, metavar="NAME=DIR", help="where a corpus lies; else PREP_ROOT_NAME, else prep.toml"
)
def corpora(as_json: bool, root: tuple[str, ...]) -> None:
    """List the corpora: licence, what may be shared, and where their roots are.

    \b
    Example:
      prep corpora
    """
    roots = roots_told(root)
    told = [_told(name, roots) for name in known.names()]
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    click.echo("\n\n".join(_text(item) for item in told))


def _told(name: str, roots: Roots) -> dict[str, object]:
    corpus, where = known.find(name), roots.where(name)
    return {
        "name": name,
        "title": corpus.TITLE,
        "homepage": corpus.HOMEPAGE,
        "licence": corpus.LICENCE,
        "licence_url": corpus.LICENCE_URL,
        "attribution": corpus.ATTRIBUTION,
        "restrictions": corpus.RESTRICTIONS,
        "download": corpus.DOWNLOAD,
        "share": {"audio": corpus.SHARE_AUDIO, "transcripts": corpus.SHARE_TRANSCRIPTS, "labels": corpus.SHARE_LABELS},
        "root": str(where) if where else None,
        "root_told_by": roots.origin(name),
        "root_exists": bool(where and where.exists()),
    }


def _text(told: dict[str, object]) -> str:
    share = told["share"]
    assert isinstance(share, dict)
    if told["root"] is None:
        name = str(told["name"])
        root = f"not told: --root {name}=DIR, PREP_ROOT_{name.upper().replace('-', '_')}=DIR, or prep.toml"
    else:
        root = f"{told['root']} (from {told['root_told_by']}{'' if told['root_exists'] else '; NOT THERE'})"
    lines = [
        ("licence", f"{told['licence']}  {told['licence_url']}".rstrip()),
        ("may share", ", ".join(f"{what} {'yes' if allowed else 'NO'}" for what, allowed in share.items())),
        ("terms", told["restrictions"]),
        ("credit", told["attribution"]),
        ("homepage", told["homepage"]),
        ("get it", told["download"]),
        ("root", root),
    ]
    return "\n".join([f"{told['name']}: {told['title']}", *(f"  {key:<10}{value}" for key, value in lines)])
