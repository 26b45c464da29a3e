"""The corpora, one file each: what a corpus says of its recordings, and what its licence allows.

An adapter reads listings, labels and tables; it never opens a recording. Write another one by writing another file, in
this package or outside it (`examples/my_corpus.py`); `tests/test_corpora.py` tests each for being there.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import blake2b
from importlib import import_module, metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from pipeline.archives import roots
from pipeline.core.errors import PrepError, SourceError, did_you_mean
from pipeline.corpora import own
from pipeline.corpora.own import Facts

if TYPE_CHECKING:
    from pipeline.archives import Root, Roots
    from pipeline.core.row import Clip, Drop, Place

NOT_CORPORA = {"adapter", "lexicon", "near", "notation", "own", "phrases", "rights"}  # modules that are no adapter
ENTRY_POINTS = "call_for_help_prep.corpora"  # the group in which an installed package names its adapters
FORMS = ("lhotse", "nemo", "kaldi")  # tools whose manifests may stand in for the table of one's own recordings


@dataclass(frozen=True, slots=True)
class Listing:
    """All that a corpus has under a root: each file under it is in a clip, in a drop, or named in `ignored`.

    clips: sorted by key. drops: sorted by id, stage "ingest", id `<corpus>/<key>`; where a key came more than once the
    files not taken are `<corpus>/<key>#2`, `#3`. inventory: counts of what the labels hold, as `--json` prints them.
    notes: sentences for a person, on what was odd but not lost. ignored: names of files that are no recordings and no
    labels, sorted.
    """

    clips: list[Clip]
    drops: list[Drop]
    inventory: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


class Corpus(Protocol):
    """What each adapter module holds; SHARE_NAMES, `places`, `flags` and NOISY may be left out.

    NAME: lower-case letters, digits and hyphens. SHARE_AUDIO, SHARE_TRANSCRIPTS, SHARE_LABELS: whether the licence lets
    them be passed on. SHARE_NAMES: False where names of files may name a person; True if it is left out. RESTRICTIONS:
    one sentence on what may be done with it. DOWNLOAD: how one comes by it. NOISY: whether its recordings of speech
    hold their own noise, so that mix keeps them as they are.
    """

    NAME: str
    TITLE: str
    HOMEPAGE: str
    LICENCE: str
    LICENCE_URL: str
    ATTRIBUTION: str
    SHARE_AUDIO: bool
    SHARE_TRANSCRIPTS: bool
    SHARE_LABELS: bool
    SHARE_NAMES: bool
    RESTRICTIONS: str
    DOWNLOAD: str
    NOISY: bool

    def clips(self, root: Root) -> Listing:
        """Every recording of the corpus, and every other file. SourceError where the root holds another corpus."""

    def places(self, root: Root) -> dict[str, Place]:
        """Clip.source -> where the recording lies. Without this function it is taken from `clips`.

        Where `clips` reads many labels, this one need not: it may also name recordings that `clips` drops.
        """

    def flags(self, labels: Mapping[str, str], frames: int, rate_hz: int) -> dict[str, str]:
        """Labels that need the measured length of the recording. Without this function there are none."""


_TEXTS = ("NAME", "TITLE", "HOMEPAGE", "LICENCE", "LICENCE_URL", "ATTRIBUTION", "RESTRICTIONS", "DOWNLOAD")
_SHARES = ("SHARE_AUDIO", "SHARE_TRANSCRIPTS", "SHARE_LABELS", "SHARE_NAMES")
_loaded: dict[str, tuple[str, Corpus]] = {}  # name -> (path of its file, adapter) of corpora from outside


class UnknownCorpus(SourceError):
    """No adapter of this name is in the package, installed or loaded."""


def names() -> list[str]:
    """The corpora, sorted: those of this package, of installed packages, loaded from files, and one's own by name."""
    return sorted({*_shipped(), *_installed(), *_loaded, *own.adapters(), *own.known()})


def others() -> list[str]:
    """The corpora that are not one's own."""
    return sorted({*_shipped(), *_installed(), *_loaded, *own.adapters()} - {own.RECORDINGS})


@cache
def _shipped() -> dict[str, str]:
    """Name -> module, of the adapters in this package."""
    modules = {m.name for m in iter_modules(__path__) if not m.name.startswith("_")} - NOT_CORPORA
    return {name.replace("_", "-"): f"{__name__}.{name}" for name in sorted(modules)}


@cache
def _installed() -> dict[str, metadata.EntryPoint]:
    """Name -> entry point, of the adapters in other packages that are installed here."""
    return {point.name: point for point in sorted(metadata.entry_points(group=ENTRY_POINTS))}


def find(name: str) -> Corpus:
    """The adapter of that name, loaded now. UnknownCorpus where there is none."""
    if name in _loaded:
        return _loaded[name][1]
    if name not in _shipped() and (file := own.adapters().get(name)):
        return load(file)
    if name not in others() and (facts := own.known().get(name)):
        named: Corpus = import_module(f"{__name__}.recordings").named(facts)
        return named
    return _find(name)


@cache
def _find(name: str) -> Corpus:
    if name in _shipped():
        return _checked(import_module(_shipped()[name]), _shipped()[name])
    if name not in _installed():
        file = own.named_adapters().get(name)
        trust = (
            f"; {roots.FILE_NAME} names {file}: type --corpus {file} once, if you trust that program" if file else ""
        )
        raise UnknownCorpus(f'unknown corpus "{name}"{did_you_mean(name, names())}{trust}')
    where = f"{_installed()[name].value}, installed as corpus {name}"
    try:
        module = _installed()[name].load()
    except Exception as error:  # whatever somebody else's module does as it is imported
        raise PrepError(f"{where}: cannot be loaded ({type(error).__name__}: {error})") from error
    corpus = _checked(module, where)
    if name != corpus.NAME:
        raise PrepError(f'{where}: its NAME is "{corpus.NAME}"; the entry point must have the same name')
    return corpus


def load(path: str | Path | Facts) -> Corpus:
    """The adapter in this file, which `find` and `names` know from now on; a file that is loaded is not run again.

    For the facts of a corpus of one's own, which `loaded` gives to another process, the adapter that they make.

    PrepError: the file cannot be run, is no adapter, or has the name of another corpus.
    """
    if isinstance(path, Facts):
        own.use(path)
        return find(path.name)
    path = Path(os.path.realpath(Path(path).expanduser()))  # resolve() raises where links lead in a circle
    for known, corpus in _loaded.values():
        if known == str(path):
            return corpus
    spec = spec_from_file_location(f"corpus_{blake2b(str(path).encode(), digest_size=8).hexdigest()}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PrepError(f"{path}: no Python file; expected an adapter of a corpus, such as examples/my_corpus.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses of the file look for their module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody else's file does as it is run
        raise PrepError(f"{path}: cannot be loaded ({type(error).__name__}: {error})") from error
    corpus = _checked(module, str(path))
    if corpus.NAME in {*_shipped(), *_installed(), *_loaded, *own.known()}:
        raise PrepError(f'{path}: there is another corpus called "{corpus.NAME}"; give this one another NAME')
    _loaded[corpus.NAME] = (str(path), corpus)
    return corpus


def loaded() -> tuple[str | Facts, ...]:
    """The paths of the files that were loaded and the facts of corpora of one's own, for another process to load."""
    return (*(path for path, _ in _loaded.values()), *own.known().values())


def find_roots(paths: Mapping[str, str | Path]) -> Roots:
    """The roots at these paths, by name, and those that the environment and prep.toml name.

    A corpus of one's own that corpus.toml in its root names is known from now on. RecipeError for a name of no corpus.
    """
    for name, path in paths.items():
        table = own.beside(Path(path)) if name not in names() else {}
        if table.pop("name", None) == name:
            own.note({"ingest": {"own": {name: table}}})
    return roots.find_roots(paths, names())


def file_of(name: str) -> str | None:
    """The file of an adapter that was loaded; None for any other corpus."""
    return _loaded[name][0] if name in _loaded else None


def identity(name: str) -> str:
    """A hash of the file of an adapter from outside that has `flags`, whose results are kept with what was measured.

    "" for adapters without flags, and for those of this package, whose flags change with the version of ingest.
    """
    corpus = find(name)
    if name in _shipped() or name in own.known() or corpus.flags is _no_flags:
        return ""
    return blake2b(Path(vars(corpus)["__file__"]).read_bytes(), digest_size=8).hexdigest()


def _checked(module: ModuleType, where: str) -> Corpus:
    """The module as an adapter, with the default `places` and `flags` where it has none. PrepError names all faults."""
    content = vars(module)
    faults = [f"{n} (a text)" for n in _TEXTS if not isinstance(content.get(n), str) or not content[n].strip()]
    content.setdefault("SHARE_NAMES", True)
    faults += [f"{name} (True or False)" for name in _SHARES if not isinstance(content.get(name), bool)]
    faults += [] if callable(content.get("clips")) else ["clips (a function of a root)"]
    if not faults and not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", content["NAME"]):
        faults = [f'a NAME of lower-case letters, digits and hyphens, found "{content["NAME"]}"']
    if faults:
        raise PrepError(f"{where}: no adapter of a corpus: expected {', '.join(faults)}")
    content.setdefault("places", partial(_places, content["clips"]))
    content.setdefault("flags", _no_flags)
    content.setdefault("NOISY", False)
    return cast("Corpus", module)


def _places(clips: Callable[[Root], Listing], root: Root) -> dict[str, Place]:
    return {clip.source: clip.place for clip in clips(root).clips}


def _no_flags(labels: Mapping[str, str], frames: int, rate_hz: int) -> dict[str, str]:
    return {}
