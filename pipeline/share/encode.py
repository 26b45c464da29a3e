"""The columns of a pack: how each lies in the file, as SQL over the columns of Row, and how it is read back.

A form is taken only where it gives back exactly what it was given, which is tried on the rows themselves. So any
manifest can be packed, and what is usual in one (levels of four decimals, hashes in hex, noise that is a row) is small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core import frame as frames
from pipeline.core.errors import ManifestError
from pipeline.core.row import Row
from pipeline.core.sql import NUMBER, derive

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1  # of the table below; a pack names the forms that it holds, so a form may be added, but none may change
FEW = (  # columns of few different values
    *("corpus", "split", "kind", "keyword", "noise_label", "transcript", "scenario", "scene", "source_format"),
    *("snr_definition", "tail"),
)
DECIMALS = {
    **dict.fromkeys(("level_full_dbfs", "level_active_dbfs"), 4),
    "activity": 6,
    "peak_dbfs": 4,
    "clipped_share": 6,
    "zero_share": 6,
    "snr_db": 2,
    **dict.fromkeys(("snr_active_db", "snr_full_db", "gain_db", "noise_gain_db"), 4),
}
_HASHES = ("pcm_hash", "source_pcm_hash", "speech_pcm_hash", "noise_pcm_hash")
_RESAMPLED = "((2 * source_frames::HUGEINT * rate_hz + source_rate_hz) // (2 * source_rate_hz))"  # dsp.frames_at
_NOISE = f"(SELECT n.{{}} FROM rows n WHERE n.{NUMBER} = rows.noise_row)"


class Form(NamedTuple):
    """How columns lie in a pack.

    encode: column of the file -> SQL over those of Row. decode: column of Row -> SQL over those of the file. needs:
    further columns that both read.
    """

    encode: Mapping[str, str]
    decode: Mapping[str, str]
    needs: tuple[str, ...] = ()


# Name of the form in a pack -> form, in the order in which they are taken. A step needs what the one before it wrote;
# the forms of one step do not need each other.
_STEPS: tuple[dict[str, Form], ...] = (
    {
        **{  # a number of few decimals as a whole one: -23.4561 dB is -234561
            f"decimals {name}": Form(
                {name: f"TRY_CAST(round({name} * 1e{digits}) AS INTEGER)"}, {name: f"{name} / 1e{digits}"}
            )
            for name, digits in DECIMALS.items()
        },
        "frames": Form(  # what the length differs from that of the recording at the row's rate: nothing
            {"frames": f"TRY_CAST(frames - {_RESAMPLED} AS BIGINT)"},
            {"frames": f"TRY_CAST(frames + {_RESAMPLED} AS BIGINT)"},
            ("source_frames", "source_rate_hz", "rate_hz"),
        ),
        "group": Form(  # only where it is not the recording itself
            {"name_of_group": 'nullif("group", source_pcm_hash)'},
            {"group": "coalesce(name_of_group, source_pcm_hash)"},
            ("source_pcm_hash",),
        ),
        "noise": Form(  # the number of the row of the noise, which says the rest
            {"noise_row": f"(SELECT min(n.{NUMBER})::INTEGER FROM rows n WHERE n.id = rows.noise_id)"},
            {f"noise_{name}": _NOISE.format(name) for name in ("id", "source", "pcm_hash")},
            ("pcm_hash",),
        ),
    },
    {
        "scene": Form(  # only where it is not that of the noise
            {"scene": "CASE WHEN noise_row IS NULL THEN scene END"},
            {"scene": f"CASE WHEN noise_row IS NULL THEN scene ELSE {_NOISE.format('scene')} END"},
            ("noise_row",),
        ),
        "ids": Form(  # the id of a mixture is that of its speech and what comes after it, `_snr20_0`
            {
                "stem": "coalesce(speech_id, id)",
                "tail": "CASE WHEN speech_id IS NOT NULL THEN substr(id, length(speech_id) + 1) END",
            },
            {"id": "concat(stem, tail)", "speech_id": "CASE WHEN tail IS NOT NULL THEN stem END"},
        ),
    },
    {
        **{  # 16 bytes instead of 32 digits
            f"hex {name}": Form(
                {name: f"CASE WHEN regexp_full_match({name}, '[0-9a-f]{{32}}') THEN unhex({name}) END"},
                {name: f"lower(hex({name}))"},
            )
            for name in _HASHES
        },
    },
)
FORMS = {name: form for step in _STEPS for name, form in step.items()}


def encode(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """(the rows as they lie in a pack, the names of the forms that were taken, in order). frame: rows.

    Columns without any value, and those that say where sound lies, are left out.
    """
    required = {field.name for field in frames.schema(Row) if not field.nullable}
    kept = [name for name in frame.columns if name in required or frames.present(frame, name).any()]
    frame = frame[[name for name in kept if name not in frames.UNHASHED]]
    names: list[str] = []
    for step in _STEPS:
        fitting = {name: form for name, form in step.items() if {*form.decode, *form.needs} <= set(frame.columns)}
        encoded = _replaced(frame, [(form.decode, form.encode) for form in fitting.values()])
        decoded = _replaced(encoded, [(form.encode, form.decode) for form in fitting.values()])
        lossless = {}
        for name, form in fitting.items():
            columns = list(form.decode)
            if frames.logical_hash(decoded[columns]) == frames.logical_hash(frame[columns]):
                lossless[name] = form
        if len(lossless) < len(fitting):
            encoded = _replaced(frame, [(form.decode, form.encode) for form in lossless.values()])
        frame = encoded
        names += lossless
    return frame, names


def decode(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The rows, from what `encode` returned. ManifestError for a form that is not known here."""
    for name in names:
        if name not in FORMS:
            raise ManifestError(f'the pack holds columns in a form ("{name}") that this prep does not know: upgrade it')
    if len(set(names)) < len(names):
        raise ManifestError("a form is named twice")
    for step in reversed(_STEPS):
        taken = [form for name, form in step.items() if name in names]
        lacking = sorted({name for form in taken for name in (*form.encode, *form.needs)} - {*frame.columns})
        if lacking:
            raise ManifestError(f"lacks the columns {', '.join(lacking)}")
        frame = _replaced(frame, [(form.encode, form.decode) for form in taken])
    return frames.as_kind(frames.from_arrow(frames.conformed(frames.to_arrow(frame), Row)), Row)


def _replaced(frame: pd.DataFrame, parts: Sequence[tuple[Iterable[str], Mapping[str, str]]]) -> pd.DataFrame:
    """The frame with other columns in place of some; one that keeps its name and type keeps its place.

    parts: (columns that go, name of each new column -> SQL over those of the frame).
    """
    expressions = {name: sql for _, new in parts for name, sql in new.items()}
    if not expressions:
        return frame
    new = derive(frame, **expressions)
    gone = [name for old, _ in parts for name in old if name not in new or new[name].dtype != frame[name].dtype]
    return frames.with_columns(frame.drop(columns=gone), **{name: new[name] for name in expressions})
