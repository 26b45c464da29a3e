"""prep diff: every change that was made is named, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command import done, held, prep
from conftest import Built
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli.emit import table
from pipeline.core import frame as frames
from pipeline.core import manifest, parquet
from pipeline.core.errors import ManifestError
from pipeline.core.frame import from_rows
from pipeline.core.manifest import Manifest, Provenance
from pipeline.core.row import Drop, Row
from pipeline.corpora.rights import LeftOut
from pipeline.inspect import diff as difference
from pipeline.inspect.diff import COMPARED, Difference

MADE = Provenance("ingest", {"ingest": {"corpora": ["aihub"]}, "filter": {"max_s": 30.0}}, 0, logical_hash="x")
ROWS = [
    Row(
        f"aihub/{n}",
        "aihub",
        "train",
        f"g{n}",
        "speech",
        f"@aihub/{n}",
        "살려",
        "saveme",
        labels={"a": "b"},
        source_pcm_hash=f"h{n}",
    )
    for n in range(6)
]


def of(rows: list[Row], made: Provenance = MADE, name: str = "m") -> Manifest:
    return Manifest(frames.ordered(frames.from_rows(rows, Row)), made, Path(f"{name}.parquet"))


def compared(a: Manifest, b: Manifest) -> Difference:
    return difference.difference(difference.of_manifest(a), difference.of_manifest(b))


def printed(answer: Difference) -> str:
    """What a terminal shows."""
    return "\n".join(line if isinstance(line, str) else "\n".join(table(line)) for line in difference.lines(answer))


def found(rows: list[Row], made: Provenance = MADE) -> Difference:
    return compared(of(ROWS, name="a"), of(rows, made, "b"))


def changed(told: Difference) -> dict[str, int]:
    return {column["column"]: column["rows"] for column in told.columns}


def counts(told: Difference) -> tuple[int, int, int, int]:
    return told.added, told.removed, told.changed, told.same


def rewritten(built: Built, tmp_path: Path, change: Callable[[list[Row]], list[Row]]) -> Path:
    """The mixed manifest with other rows, as by hand: provenance stays as it was."""
    mixed = held(built.folder, "mixed")
    path = tmp_path / "changed.parquet"
    rows = frames.ordered(frames.from_rows(change(list(mixed.rows())), Row))
    parquet.write(path, rows, asdict(mixed.provenance))
    parquet.write(manifest.drops_path(path), mixed.drops, asdict(mixed.provenance))
    return path


def test_a_manifest_is_like_itself_and_like_itself_in_another_order(tmp_path: Path, built: Built) -> None:
    again = rewritten(built, tmp_path, lambda rows: rows[::-1])
    assert "the same rows" in done(tmp_path, "diff", built.path("mixed"), again).out
    told = done(tmp_path, "diff", built.path("mixed"), built.path("mixed"), "--json").json()
    assert (told["same_rows"], told["same"], told["columns"], told["options"]) == (
        True,
        len(held(built.folder, "mixed")),
        [],
        [],
    )


def test_where_the_audio_lies_is_no_difference() -> None:
    assert found(
        [replace(row, shard="other.tar", offset=n, bytes=n, noise_shard="x") for n, row in enumerate(ROWS)]
    ).same_rows


def test_a_single_changed_label_is_named_with_its_row_and_both_values(tmp_path: Path, built: Built) -> None:
    rows = list(held(built.folder, "mixed").rows())
    spoken = next(n for n, row in enumerate(rows) if row.keyword == "saveme")
    path = rewritten(
        built,
        tmp_path,
        lambda _: [replace(row, keyword="others") if n == spoken else row for n, row in enumerate(rows)],
    )
    ended = prep(tmp_path, "diff", built.path("mixed"), path)
    assert ended.code == 1
    line = next(line for line in ended.out.splitlines() if line.startswith("keyword"))
    assert line.split() == ["keyword", "1", rows[spoken].id, "saveme", "others"]
    assert "one of them was changed after it was written" in ended.out
    assert changed(compared(held(built.folder, "mixed"), manifest.read(path))) == {"keyword": 1}


def test_of_labels_only_those_that_differ_are_told() -> None:
    told = found([replace(ROWS[0], labels={"a": "b", "gender": "여성"}), *ROWS[1:]])
    assert told.columns[0]["examples"] == [
        {"id": "aihub/0", "old": {"gender": None}, "new": {"gender": "여성"}, "rows": 1}
    ]
    assert "gender 여성" in printed(told)


def test_two_clips_that_changed_places_are_said_to_have() -> None:
    rows = [replace(ROWS[0], source_pcm_hash="h4"), *ROWS[1:4], replace(ROWS[4], source_pcm_hash="h0"), ROWS[5]]
    told = found(rows)
    assert (told.swapped, told.examples_swapped, told.changed) == (1, (("aihub/0", "aihub/4"),), 2)
    assert "aihub/0 and aihub/4 have changed places" in printed(told)


def test_mixtures_of_two_clips_that_changed_places_name_the_clips() -> None:
    mixed = [
        replace(row, id=f"{row.id}_snr{snr}_0", kind="mixture", speech_id=row.id)
        for row in ROWS[:3]
        for snr in (10, 20)
    ]
    sound = {"h0": "h1", "h1": "h0", "h2": "h2"}
    moved = [replace(row, source_pcm_hash=sound[str(row.source_pcm_hash)]) for row in mixed]
    told = compared(of(mixed), of(moved))
    assert (told.changed, told.swapped, told.examples_swapped) == (4, 1, (("aihub/0", "aihub/1"),))


def test_another_sound_is_no_swap() -> None:
    told = found([replace(ROWS[0], source_pcm_hash="h1"), replace(ROWS[1], source_pcm_hash="h9"), *ROWS[2:]])
    assert (told.swapped, changed(told)) == (0, {"source_pcm_hash": 2})


def test_what_it_was_made_by_is_told_option_by_option() -> None:
    made = replace(
        MADE,
        recipe={**MADE.recipe, "filter": {"max_s": 10.0}, "mix": {"snr_db": [20]}},
        seed=3,
        versions={"numpy": "2"},
        inputs={"a": "1"},
    )
    told = {option["name"]: (option["old"], option["new"]) for option in found(ROWS[:4], made).options}
    assert told == {
        "recipe.filter.max_s": (30.0, 10.0),
        "recipe.mix": (None, {"snr_db": [20]}),
        "seed": (0, 3),
        "versions.numpy": (None, "2"),
        "inputs.a": (None, "1"),
    }


def test_other_rows_by_the_same_recipe_are_said_to_be_changed_by_hand() -> None:
    assert "by hand" in printed(found(ROWS[:5], replace(MADE, logical_hash="y")))


def test_a_changed_recipe_and_the_rule_that_dropped_rows_are_named(tmp_path: Path, built: Built) -> None:
    ingested = [built.path(name) for name in ("aihub", "cochlscene", "ms-snsd", "recordings")]
    done(tmp_path, "filter", *ingested, "--max-s", 3, "--out", tmp_path / "short.parquet")
    short, filtered = tmp_path / "short.parquet", built.path("filtered")
    ended = prep(tmp_path, "diff", filtered, short, "--json")
    told = ended.json()
    assert ended.code == 1
    assert [(o["name"], o["old"], o["new"]) for o in told["options"]] == [("recipe.filter.max_s", 30.0, 3.0)]
    gone = {row.id for row in manifest.read(filtered).rows()} - {row.id for row in manifest.read(short).rows()}
    assert gone
    dropped = [m for m in told["moved"] if m["to"] == "dropped"]
    assert [(m["stage"], m["reason"], m["rows"]) for m in dropped] == [("filter", "too_long", len(gone))]
    assert "longer than 3.0 s" in dropped[0]["detail"]
    back = prep(tmp_path, "diff", short, filtered, "--json").json()
    assert [(m["to"], m["reason"], m["rows"]) for m in back["moved"]] == [("kept", "too_long", len(gone))]
    assert told["notes"] == []


def test_a_mixture_is_gone_where_its_speech_was_dropped(tmp_path: Path) -> None:
    mixed = [replace(row, id=f"{row.id}_snr20_0", kind="mixture", speech_id=row.id) for row in ROWS]
    paths = tmp_path / "a.parquet", tmp_path / "b.parquet"
    manifest.write(paths[0], frames.from_rows(mixed, Row), frames.from_rows([], Drop), MADE)
    manifest.write(
        paths[1],
        frames.from_rows(mixed[1:], Row),
        frames.from_rows([Drop("aihub/0", "filter", "silent", "no signal at all")], Drop),
        MADE,
    )
    told = compared(manifest.read(paths[0]), manifest.read(paths[1]))
    assert [tuple(m[key] for key in ("to", "reason", "rows", "example", "detail")) for m in told.moved] == [
        ("dropped", "silent", 1, "aihub/0_snr20_0", "no signal at all")
    ]


def test_rows_taken_out_by_hand_are_said_to_be_in_no_drops(tmp_path: Path, built: Built) -> None:
    path = rewritten(built, tmp_path, lambda rows: rows[3:])
    assert "3 of the rows removed are in no drops of B" in prep(tmp_path, "diff", built.path("mixed"), path).out


def test_mixtures_at_another_snr_are_gone_by_the_option_and_not_by_hand() -> None:
    mixed = [replace(row, kind="mixture", speech_id=row.id) for row in ROWS]
    held, other = ([replace(row, id=f"{row.id}_snr{snr}_0") for row in mixed] for snr in (5, 10))
    there, here = (
        replace(MADE, recipe={**MADE.recipe, "mix": {"snr_db": [snr]}}, logical_hash=str(snr)) for snr in (5.0, 10.0)
    )
    b = replace(difference.of_manifest(of(other[:-1], here)), drops=lambda: from_rows([], Drop))
    assert difference.difference(difference.of_manifest(of(held, there)), b).notes == (
        "they share no row",
        "5 of the rows removed are mixtures whose speech is mixed otherwise in B, by the options of mix above",
        "1 of the rows removed are in no drops of B: other input, --limit, or rows taken out by hand",
    )


def test_sets_that_share_nothing_say_so(tmp_path: Path, built: Built) -> None:
    ended = prep(tmp_path, "diff", built.path("aihub"), built.path("cochlscene"))
    assert ended.code == 1
    assert "they share no row" in ended.out


# ---- packs


def test_what_a_pack_left_out_is_not_comparable_and_not_changed() -> None:
    packed = [replace(row, transcript=None, labels={}) for row in ROWS]
    packed[2] = replace(packed[2], keyword="others")
    left = [LeftOut("aihub", "transcript", 6, "forbidden"), LeftOut("aihub", "labels", 6, "forbidden")]
    told = difference.difference(difference.of_manifest(of(ROWS)), difference.of_manifest(of(packed), left))
    assert changed(told) == {"keyword": 1}
    assert [(item["column"], item["rows"], item["why"]) for item in told.not_comparable] == [
        ("transcript", 6, "forbidden"),
        ("labels", 6, "forbidden"),
    ]
    back = difference.difference(difference.of_manifest(of(packed), left), difference.of_manifest(of(ROWS)))
    assert changed(back) == {"keyword": 1}


def test_what_a_pack_may_hold_and_has_lost_is_changed() -> None:
    other = [
        replace(row, id=row.id.replace("aihub", "cochlscene"), corpus="cochlscene", source=f"@cochlscene{n}")
        for n, row in enumerate(ROWS)
    ]
    packed = [replace(other[0], transcript=None), *other[1:]]
    told = difference.difference(
        difference.of_manifest(of(other)),
        difference.of_manifest(of(packed), [LeftOut("aihub", "transcript", 6, "forbidden")]),
    )
    assert changed(told) == {"transcript": 1}


def test_a_pack_is_like_the_manifest_that_it_was_made_of(tmp_path: Path, built: Built) -> None:
    done(tmp_path, "pack", built.path("mixed"), "--out", tmp_path / "mixed.pack.parquet")
    told = done(tmp_path, "diff", built.path("mixed"), tmp_path / "mixed.pack.parquet", "--json").json()
    assert told["same_rows"]
    assert {"transcript", "labels"} <= {blind["column"] for blind in told["not_comparable"]}
    changed_one = rewritten(built, tmp_path, lambda rows: [replace(rows[0], split="dev"), *rows[1:]])
    assert "split " in prep(tmp_path, "diff", tmp_path / "mixed.pack.parquet", changed_one).out


# ---- mistakes


@pytest.mark.parametrize(
    ("name", "said"), [("text.parquet", "not a Parquet file"), ("none.parquet", "no such manifest")]
)
def test_what_is_no_manifest_is_refused_by_name(name: str, said: str, tmp_path: Path, built: Built) -> None:
    (tmp_path / "text.parquet").write_text("id\n")
    ended = prep(tmp_path, "diff", built.path("mixed"), name)
    assert (ended.code, name in ended.err, said in ended.err) == (2, True, True)  # 1 says that they differ


def test_a_manifest_that_holds_an_id_twice_cannot_be_compared() -> None:
    with pytest.raises(ManifestError, match="holds aihub/0 more than once"):
        found([*ROWS, ROWS[0]])


# ---- an independent referee

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "split": st.sampled_from(["dev", "test"]),
        "transcript": st.none(),
        "snr_db": st.floats(0, 9),
        "labels": st.just({"z": "1"}),
    },
)


@settings(max_examples=12, deadline=None)
@given(st.lists(CHANGES, min_size=6, max_size=6), st.sets(st.integers(0, 5), max_size=3), st.integers(0, 3))
def test_pandas_counts_the_same(changes: list[dict[str, Any]], gone: set[int], more: int) -> None:
    rows = [replace(row, **change) for n, (row, change) in enumerate(zip(ROWS, changes, strict=True)) if n not in gone]
    rows += [replace(ROWS[0], id=f"aihub/new{n}", source=f"@aihub/new{n}") for n in range(more)]
    told = compared(of(ROWS), of(rows))
    old, new = (
        pd.DataFrame({f: [repr(getattr(r, f)) for r in listed] for f in ("id", *COMPARED)}).set_index("id")
        for listed in (ROWS, rows)
    )
    both = old.index.intersection(new.index)
    unequal = old.loc[both] != new.loc[both]
    assert changed(told) == {name: int(n) for name, n in unequal.sum().items() if n}
    assert counts(told) == (
        len(new) - len(both),
        len(old) - len(both),
        int(unequal.any(axis=1).sum()),
        int((~unequal.any(axis=1)).sum()),
    )
