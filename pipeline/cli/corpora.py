"""prep corpora."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pipeline import corpora as known
from pipeline.archives import Roots
from pipeline.cli.emit import table
from pipeline.cli.options import AS_JSON, CORPUS, ROOT, find_roots


@click.command()
@AS_JSON
@ROOT
@CORPUS
def corpora(as_json: bool, roots: dict[str, str]) -> None:
    """List the corpora: licence, what may be shared, and where their roots are.

    \b
    Example:
      prep corpora
    """
    where = find_roots(roots)
    told = [_told(name, where) for name in known.names()]
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


def inventory_text(inventory: Mapping[str, Any], most: int = 20) -> str:
    """What the labels of a corpus hold, as tables for a person of at most `most` lines each; each says what it leaves out."""
    keys = [(key["path"], key["count"], _types(key), _distinct(key), _commonest(key)) for key in inventory["keys"]]
    categories = [
        (item["count"], " > ".join(part or "(none)" for part in item["path"])) for item in inventory["categories"]
    ]
    transcripts = [(item["count"], item["text"] or "(blank)") for item in inventory["transcripts"]]
    containers = [(item["files"], item["container"]) for item in inventory["containers"]]
    parts = (
        (
            f"keys of {inventory['labels']:,} labels",
            ("key", "count", "types", "distinct", "commonest values"),
            keys,
            None,
        ),
        ("categories", ("count", "01 > 02 > 03"), categories, most),
        ("transcripts", ("count", "note"), transcripts, most),
        ("folders and archives", ("files", "folder or archive"), containers, most),
    )
    return "\n\n".join("\n  ".join([title, *_some(head, rows, limit)]) for title, head, rows, limit in parts)


def _some(head: Sequence[str], rows: Sequence[Sequence[object]], most: int | None) -> list[str]:
    """The first `most` rows below the head, and how many more there are."""
    more = [f"... and {len(rows) - most:,} more"] if most is not None and len(rows) > most else []
    return [*table([head, *rows[:most]], rule=False), *more]


def _types(key: Mapping[str, Any]) -> str:
    return ", ".join(name if n == key["count"] else f"{name} {n:,}" for name, n in key["types"].items())


def _distinct(key: Mapping[str, Any]) -> str:
    return f"{key['distinct']:,}" if key["all_counted"] else f"over {key['distinct']:,}"


def _commonest(key: Mapping[str, Any], most: int = 4) -> str:
    first = key["commonest"][0]
    if key["distinct"] > most and first[1] == 1:
        return f"all differ, {_short(first[0])} ..."
    rest = " ..." if key["distinct"] > most else ""
    return ", ".join(f"{_short(value)} {n:,}" for value, n in key["commonest"][:most]) + rest


def _short(text: str, most: int = 24) -> str:
    return repr(text) if len(text) <= most else repr(text[: most - 3]) + "..."
