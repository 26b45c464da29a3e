"""What this machine has and can do: packages, decoders, the bits it makes, names and disk, roots, and its pace."""

from __future__ import annotations

import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.audio import dsp
from pipeline.audio.codec import Recording, flac, library, pcm_crc, pcm_hash, unflac
from pipeline.core import keys
from pipeline.core.errors import PrepError, to_install
from pipeline.core.row import Drop, Place, Row
from pipeline.stages import Job, Noise, ingest, mix
from pipeline.stages.store import Store

PROJECT = "call-for-help-prep"
EXTRAS = ("cluster", "detect", "report", "train")  # those that users may want
NAMES = tuple(normalize(form, "한글 이름.txt") for form in ("NFC", "NFD"))  # as Windows writes them, as macOS does
FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "RF64", "W64")  # corpora come in the first four
GOLDEN = "df4ca6fee69c109c84f45e2e5cbf3ea2"  # pcm_hash of `reference()` at 16 kHz
TRIAL_CLIPS, TRIAL_S = 12, 8
FULL_GB = 0.1  # less room than that, and nothing can be stored
AIHUB_H, AIHUB_CLIPS, NOISE_H = 891, 422_000, 211  # AI-Hub at a mean of 7.6 s a recording; CochlScene, 76,115 of 10 s


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. state: "ok", "note" (works, but you should know) or "fault". remedy: what to type."""

    about: str
    state: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many seconds of audio one process takes through ingest, resample and mix in a second; number of processes."""

    times_real_time: float
    processes: int

    @property
    def hours_a_second(self) -> float:
        """Hours of audio a second, all processes together."""
        return self.times_real_time * self.processes / 3600

    @property
    def aihub_minutes(self) -> float:
        """Minutes that the whole AI-Hub corpus with CochlScene as noise would take, were the disk no bottleneck."""
        return (AIHUB_H + NOISE_H) * 60 / self.times_real_time / self.processes


def checks(roots: Roots, folder: Path) -> Iterator[Check]:
    """The results of all checks, one by one. folder: where manifests would be written."""
    yield from packages()
    yield decoders()
    yield same_bits()
    sound = reference()
    if np.array_equal(unflac(flac(sound, 16_000)), sound):
        yield Check("flac", "ok", "comes back as it went in")
    else:
        remedy = "pip install --force-reinstall soundfile"
        yield Check("flac", "fault", "does not come back as it went in", remedy)
    yield from names(folder)
    yield disk(folder)
    for name in corpora.names():
        yield root(name, roots)


def packages() -> Iterator[Check]:
    """Python, the packages that the installed project declares, and those of the extras that users may want."""
    yield Check("python", "ok", sys.version.split()[0])
    declared = defaultdict[str, list[str]](list)
    for line in requires(PROJECT) or []:
        requirement, _, condition = line.partition(";")
        of_extra = re.search(r"extra *== *['\"](.+?)['\"]", condition)
        if of_extra or not condition:
            declared[of_extra[1] if of_extra else ""] += re.findall(r"^[\w.-]+", requirement)
    needed = sorted(declared[""])
    missing = [name for name in needed if _version(name) is None]
    text = ", ".join(f"{name} {_version(name)}" for name in needed if name not in missing)
    if missing:
        text, remedy = f"{text}; missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        yield Check("packages", "fault", text, remedy)
    else:
        yield Check("packages", "ok", text)
    for extra in EXTRAS:
        missing = [name for name in sorted(declared[extra]) if _version(name) is None]
        if missing:
            yield Check(f"extra [{extra}]", "note", f"lacks {', '.join(missing)}", to_install(extra))
        else:
            yield Check(f"extra [{extra}]", "ok", "installed")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def decoders() -> Check:
    """libsndfile, and which of the formats that corpora come in it reads."""
    name, formats = library()
    text = f"{name} reads {', '.join(sorted(set(formats) & set(FORMATS)))}"
    missing = [kind for kind in FORMATS[:4] if kind not in formats]
    if missing:
        return Check("decoders", "note", f"{text}; not {', '.join(missing)}", "pip install --upgrade soundfile")
    return Check("decoders", "ok", text)


def reference() -> NDArray[np.int16]:
    """int16 [44,100]: a second of noise made of integers alone, the same on any machine."""
    drawn = keys.words(0, "doctor", (str(n) for n in range(44_100 // keys.DRAWS_PER_NAME + 1)))
    return (drawn.view("<i8").ravel()[:44_100] >> 51).astype(np.int16)


def same_bits() -> Check:
    """Whether resampling gives the samples that it gives elsewhere, to the last bit."""
    sound = dsp.quantised(dsp.resample(reference().astype(np.float32) * np.float32(1 / dsp.FULL_SCALE), 44_100, 16_000))
    if pcm_hash(sound, 16_000) == GOLDEN:
        return Check("same bits", "ok", "soxr gives the samples that it gives elsewhere")
    text = (
        f"soxr {_version('soxr')} gives samples of its own on this machine: a rebuild may be off by one in the last bit"
    )
    remedy = "install the versions of constraints.txt, or see prep verify for what differs"
    return Check("same bits", "note", text, remedy)


def names(folder: Path) -> Iterator[Check]:
    """Whether Korean file names, and Korean text on the screen, survive here."""
    text = f"file names {sys.getfilesystemencoding()}, screen {sys.stdout.encoding}"
    if sys.getfilesystemencoding().lower().replace("-", "") == "utf8":
        yield Check("encoding", "ok", text)
    else:
        yield Check("encoding", "fault", text, "export PYTHONUTF8=1")
    try:
        with TemporaryDirectory(dir=folder) as place:  # of its own: nothing of the user's is touched
            for name in NAMES:
                Path(place, name).write_bytes(b"")
    except OSError as error:
        text = f"{folder}: cannot be written to ({error.strerror})"
        yield Check("folder", "fault", text, "work in a folder of your own")
    else:
        yield Check("folder", "ok", f"{folder}: writable, takes Korean names")


def disk(folder: Path) -> Check:
    """Room for what a run stores."""
    free = shutil.disk_usage(folder).free / 1e9
    room = f"{free:,.0f} GB free" if free > 1 else f"{free * 1000:,.0f} MB free"
    state = "ok" if free > 1 else "note" if free > FULL_GB else "fault"
    remedy = "" if state == "ok" else "make room, or work in a folder on another disk"
    return Check("disk", state, f"{room} (16 kHz FLAC takes about 70 MB an hour)", remedy)


def root(name: str, roots: Roots) -> Check:
    """Where a corpus lies, and how many recordings are there."""
    where, about = roots.where(name), f"root {name}"
    if where is None:
        remedy = f"--root {name}=DIR, or prep ingest {name} DIR, which notes it in prep.toml"
        return Check(about, "note", "nobody said where it lies", remedy)
    try:
        number = len(corpora.find(name).places(roots[name]))
    except PrepError as error:
        first, *more = str(error).splitlines()
        text = f"{first} (and {len(more):,} more such)" if more else first
        return Check(about, "fault", text, f"prep ingest {name} says all of it" if more else "")
    text = f"{where} (from {roots.origin(name)}): {number:,} recordings"
    if number:
        return Check(about, "ok", text)
    return Check(about, "fault", text, f"check that {where} is what prep corpora describes")


class _InMemory(Store):
    """A store for a trial of the pace: one recording and one noise, nothing is read, nothing stays."""

    def __init__(self, recording: Recording, noise: NDArray[np.int16]) -> None:
        super().__init__(Path(), Roots({}))
        self.speech, self.noise = recording, noise

    def recording(self, place: Place, most_bytes: int = 0) -> Recording:
        return self.speech

    def pool(self, name: str) -> NDArray[np.int16]:
        return self.noise

    def put(self, row_id: str, pcm: NDArray[np.int16], rate_hz: int) -> tuple[str, int, int]:
        return "", 0, len(flac(pcm, rate_hz))


def pace(processes: int, clock: Callable[[], float]) -> Pace:
    """The pace of ingest, resample and mix on made-up speech. clock: seconds."""
    t = np.arange(TRIAL_S * 44_100) / 44_100  # a tone in bursts over faint noise: about as hard to encode as speech
    tone = sum(np.sin(2 * np.pi * 170 * n * t) / n for n in range(1, 12)) * np.clip(np.sin(2 * np.pi * 1.5 * t), 0, 1)
    pcm = np.asarray(tone * 6000 + np.resize(reference(), len(t)) * 0.005).astype(np.int16)
    recording = Recording(pcm[:, None], 44_100, "WAV PCM_16")
    store = _InMemory(recording, reference()[: 10 * 1600] // 64)
    place = Place("trial", "", 0, 0, 0, -1)
    noise = Noise("", 0, 0, "", 0, len(store.noise), (0,) * 4)
    trial = Row("", "recordings", "", "", "speech", "@trial", snr_db=20.0, snr_definition="active")
    trial = replace(trial, rate_hz=16_000, frames=TRIAL_S * 16_000, source_rate_hz=44_100, source_channels=1)
    trial = replace(trial, source_frames=len(pcm), source_format="WAV PCM_16", source_pcm_crc=pcm_crc(pcm))
    begun = clock()
    for number in range(TRIAL_CLIPS):
        row = replace(trial, id=str(number), speech_id=str(number))
        ingest.work(Job(row, place), ingest.Options.model_validate({}), store)
        made = mix.work(Job(row, place, noise, "HQ"), mix.Options.model_validate({}), store)
        if isinstance(made, Drop):
            raise AssertionError(made.detail)
    return Pace(TRIAL_CLIPS * TRIAL_S / (clock() - begun), processes)
