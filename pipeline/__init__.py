"""prep: from corpora as downloaded to a mixed 16 kHz set and its manifest; shared without its audio, judged, shown,
exported.

    import pipeline as prep
    clips = prep.ingest("aihub", "/data/aihub170")
    mixed = prep.mix(prep.resample(prep.filter(clips)), snr_db=20)

Ten packages, the lowest first; each may use those above it in this list (tests/test_architecture.py):

    core      rows, frames, manifests, identity and chance, errors
    audio     arrays: levels, resampling, mixing; codecs; shards
    archives  bytes out of folders, zips, split zips, tars, in place
    corpora   one file a corpus; licences and rights; the lexicon
    stages    ingest, filter, resample, mix, scene
    engine    recipe, steps, shards, workers, cache
    share     pack, locate, rebuild, verify
    inspect   show, explain, diff, audit, report      export   other tools' formats
    cli       the terminal, and nothing else

api.py holds the public functions, which the command line calls as well.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import (
        audit,
        croissant,
        diff,
        explain,
        export_to,
        filter,
        gather,
        ingest,
        load,
        measure,
        mix,
        pack,
        plan,
        rebuild,
        report,
        resample,
        run,
        scene,
        verify,
    )
    from pipeline.audio import shards as store
    from pipeline.core import manifest

__version__ = "0.1.0"
__all__ = [
    "audit",
    "croissant",
    "diff",
    "explain",
    "export_to",
    "filter",
    "gather",
    "ingest",
    "load",
    "manifest",
    "measure",
    "mix",
    "pack",
    "plan",
    "rebuild",
    "report",
    "resample",
    "run",
    "scene",
    "store",
    "verify",
]
_MODULES = {"manifest": "pipeline.core.manifest", "store": "pipeline.audio.shards"}


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first used: `prep --help` and the workers load none of them."""
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in __all__:
        return getattr(import_module("pipeline.api"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
