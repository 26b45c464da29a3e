"""The conformance suite: what holds for every adapter. A new one needs a sample in corpus_samples.py, and is tested.

It runs on an adapter from outside the package as well, the one that `examples/` shows.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest
from corpus_samples import SAMPLES, write
from pipeline.demo.containers import Style, pieces, split_zipped, tarred, zipped

from pipeline import corpora
from pipeline.archives import Root
from pipeline.archives.names import is_audio
from pipeline.core.errors import PrepError, SourceError
from pipeline.core.row import Clip, Place
from pipeline.corpora import Listing

TEXTS = ("NAME", "TITLE", "HOMEPAGE", "LICENCE", "LICENCE_URL", "ATTRIBUTION", "RESTRICTIONS", "DOWNLOAD")
NOWHERE = Place("", "", 0, 0, 0, -1)
EXAMPLE = Path(__file__).parents[1] / "examples/my_corpus.py"
NAMES = sorted([*corpora.names(), "my-corpus"])
each_corpus = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's adapter is known in these tests, and in no other."""
    monkeypatch.setattr(corpora, "_loaded", {})
    corpora.load(EXAMPLE)


def in_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    write(folder, files)


def in_folder_with_nfd_names(folder: Path, files: Mapping[str, bytes]) -> None:
    write(folder, {normalize("NFD", name): data for name, data in sorted(files.items(), reverse=True)})


def in_zip(folder: Path, files: Mapping[str, bytes]) -> None:
    write(folder, {"all.zip": zipped(files)})


def in_stored_nfd_zip(folder: Path, files: Mapping[str, bytes]) -> None:
    write(folder, {"all.zip": zipped(files, Style(form="NFD", stored=True))})


def in_cp949_zip(folder: Path, files: Mapping[str, bytes]) -> None:
    write(folder, {"all.zip": zipped(files, Style("cp949"))})


def in_split_zip(folder: Path, files: Mapping[str, bytes]) -> None:
    *disks, last = split_zipped(files, 4096)
    write(folder, {f"all.z{n:02d}": disk for n, disk in enumerate(disks, 1)} | {"all.zip": last})


def in_tar(folder: Path, files: Mapping[str, bytes]) -> None:
    write(folder, {"all.tar": tarred(files)})


def in_tar_of_pieces(folder: Path, files: Mapping[str, bytes]) -> None:
    write(folder, {"all.tar": tarred(pieces("all.zip", zipped(files), 700))})


CONTAINERS = [in_folder_with_nfd_names, in_zip, in_stored_nfd_zip, in_cp949_zip, in_split_zip, in_tar, in_tar_of_pieces]


@pytest.fixture
def claims(tmp_path: Path) -> Callable[..., Listing]:
    """Listing of a corpus's sample, or of other files, held in a folder or another container."""

    def made(
        name: str,
        hold: Callable[[Path, Mapping[str, bytes]], None] = in_folder,
        files: Mapping[str, bytes] | None = None,
    ) -> Listing:
        folder = tmp_path / f"{name}-{hold.__name__}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        hold(folder, SAMPLES[name] if files is None else files)
        return corpora.find(name).clips(Root(name, folder))

    return made


def placeless(clips: list[Clip]) -> list[Clip]:
    return [replace(clip, place=NOWHERE) for clip in clips]


def test_every_corpus_has_a_sample_to_be_tested_with() -> None:
    assert sorted(SAMPLES) == corpora.names()


def test_the_corpora_are_found_by_their_file_names_and_those_from_outside_as_they_are_loaded() -> None:
    assert corpora.names() == ["aihub", "cochlscene", "ms-snsd", "my-corpus", "recordings"]


@each_corpus
def test_a_corpus_says_where_it_comes_from_and_what_may_be_shared(name: str) -> None:
    module = corpora.find(name)
    assert name == module.NAME
    assert all(getattr(module, constant).strip() for constant in TEXTS)
    assert {type(share) for share in (module.SHARE_AUDIO, module.SHARE_TRANSCRIPTS, module.SHARE_LABELS)} == {bool}


def test_nothing_of_aihub_may_be_shared() -> None:
    aihub = corpora.find("aihub")
    assert [aihub.SHARE_AUDIO, aihub.SHARE_TRANSCRIPTS, aihub.SHARE_LABELS] == [False, False, False]


def test_an_unknown_corpus_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(PrepError, match='unknown corpus "ms_snsd": did you mean "ms-snsd"'):
        corpora.find("ms_snsd")


def test_listing_the_corpora_loads_none_of_them() -> None:
    heavy = "[m for m in sys.modules if 'aihub' in m or m in ('orjson', 'numpy')]"
    code = f"import sys; from pipeline import corpora; corpora.names(); print({heavy})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@each_corpus
def test_keys_and_sources_are_unique_and_in_order(name: str, claims: Callable[..., Listing]) -> None:
    clips = claims(name).clips
    keys = [clip.key for clip in clips]
    assert keys
    assert keys == sorted(set(keys))
    assert len({clip.source for clip in clips}) == len(clips)
    assert all(clip.source.startswith(f"@{name}/") for clip in clips)


@each_corpus
def test_splits_kinds_and_labels_are_of_the_known_sorts(name: str, claims: Callable[..., Listing]) -> None:
    for clip in claims(name).clips:
        assert clip.split in ("train", "dev", "test")
        assert clip.kind in ("speech", "noise")
        assert clip.text is None or clip.text.strip()
        assert all(isinstance(k, str) and isinstance(v, str) and v.strip() for k, v in clip.labels.items())


@each_corpus
def test_every_recording_is_a_clip_a_drop_or_named_as_ignored(name: str, claims: Callable[..., Listing]) -> None:
    found = claims(name)
    audio = [path for path in SAMPLES[name] if is_audio(path)]
    unheard = {"no_audio"} | ({"bad_label"} if name == "recordings" else set())
    lost = [drop for drop in found.drops if drop.reason not in unheard]
    ignored = [path for path in found.ignored if is_audio(path)]
    assert len(found.clips) + len(lost) + len(ignored) == len(audio)
    assert len({clip.place for clip in found.clips}) == len(found.clips)


@each_corpus
def test_drops_have_unlike_ids_a_word_and_a_sentence(name: str, claims: Callable[..., Listing]) -> None:
    found = claims(name)
    ids = [drop.id for drop in found.drops]
    assert ids == sorted(set(ids))
    assert not set(ids) & {f"{name}/{clip.key}" for clip in found.clips}
    for drop in found.drops:
        assert drop.id.startswith(f"{name}/")
        assert drop.stage == "ingest"
        assert drop.reason.replace("_", "").isalpha()
        assert len(drop.detail) > 20


@each_corpus
@pytest.mark.parametrize("hold", CONTAINERS, ids=lambda hold: hold.__name__)
def test_the_container_changes_no_clip_and_no_reason(
    name: str, hold: Callable[..., None], claims: Callable[..., Listing]
) -> None:
    plain, held = claims(name), claims(name, hold)
    assert placeless(held.clips) == placeless(plain.clips)
    assert Counter(drop.reason for drop in held.drops) == Counter(drop.reason for drop in plain.drops)


@each_corpus
def test_a_corpus_moved_says_the_same_to_the_letter(name: str, claims: Callable[..., Listing]) -> None:
    first, second = claims(name), claims(name)
    assert placeless(first.clips) == placeless(second.clips)
    assert (first.drops, first.notes, first.ignored) == (second.drops, second.notes, second.ignored)


@each_corpus
def test_places_finds_every_clip_where_clips_does(name: str, tmp_path: Path) -> None:
    root = Root(name, write(tmp_path, SAMPLES[name]))
    module = corpora.find(name)
    places = module.places(root)
    for clip in module.clips(root).clips:
        assert places[clip.source] == clip.place


@each_corpus
def test_claims_travel_to_another_process(name: str, claims: Callable[..., Listing]) -> None:
    found = claims(name)
    assert pickle.loads(pickle.dumps(found)) == found


@each_corpus
@pytest.mark.parametrize("other", NAMES)
def test_the_root_of_another_corpus_is_refused(name: str, other: str, claims: Callable[..., Listing]) -> None:
    if other == name:
        return
    with pytest.raises(SourceError, match=f"(?s)^{name}: .*expected"):
        claims(name, in_folder, SAMPLES[other])


@each_corpus
def test_a_root_without_a_single_recording_is_refused(name: str, claims: Callable[..., Listing]) -> None:
    with pytest.raises(SourceError, match=r"expected"):
        claims(name, in_folder, {"README.md": b"nothing here"})


@each_corpus
def test_flags_are_labels(name: str) -> None:
    flags = corpora.find(name).flags({"area_start_s": "0.0", "area_end_s": "9.5"}, 16_000, 16_000)
    assert all(isinstance(value, str) for value in flags.values())
