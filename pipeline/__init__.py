"""prep: from corpora as downloaded to a mixed 16 kHz set and its manifest; shared without its audio, judged, shown, exported.

Ten packages, the lowest first; each may use those above it in this list (tests/test_architecture.py):

    core      rows, frames, manifests, identity and chance, errors
    audio     arrays: levels, resampling, mixing; codecs; shards
    archives  bytes out of folders, zips, split zips, tars, in place
    corpora   one file a corpus; licences and rights; the lexicon
    stages    ingest, filter, resample, mix
    engine    recipe, steps, shards, workers, cache
    share     pack, locate, rebuild, verify
    inspect   show, explain, diff, audit, report      export   other tools' formats
    cli       the terminal, and nothing else
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_DOORS = {"manifest": "pipeline.core.manifest", "store": "pipeline.audio.shards"}  # loaded when they are asked for


def __getattr__(name: str) -> Any:
    """`from pipeline import manifest, store`."""
    if name in _DOORS:
        return import_module(_DOORS[name])
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
