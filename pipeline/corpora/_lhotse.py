"""Lhotse: cuts, or recordings and supervisions, as .jsonl or .jsonl.gz."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.corpora._said import OWN, Line, Said, first, lines, said, shallow

if TYPE_CHECKING:
    from pipeline.archives import Root

EXPECTED = "cuts.jsonl(.gz), or recordings.jsonl(.gz) and supervisions.jsonl(.gz)"
_SUFFIXES = (".jsonl", ".jsonl.gz")
_CUT = "in Lhotse: cuts.trim_to_supervisions().save_audios(DIR), then the cuts that it gives"
Fault = tuple[str, str]


def files(root: Root) -> list[str]:
    """The manifests to read: cuts where there are any, for they hold the rest; else recordings and supervisions."""
    kinds = {entry.name: _kind(first(root, entry)) for entry in shallow(root, _SUFFIXES)}
    cuts = [name for name, kind in kinds.items() if kind == "cut"]
    recordings = [name for name, kind in kinds.items() if kind == "recording"]
    return cuts or (recordings and [name for name, kind in kinds.items() if kind in ("recording", "supervision")])


def _kind(told: Mapping[str, Any]) -> str:
    if "tracks" in told or str(told.get("type", "")).endswith("Cut"):
        return "cut"
    if "sources" in told and "sampling_rate" in told:
        return "recording"
    return "supervision" if "recording_id" in told and "start" in told else ""


def said_all(root: Root) -> Iterator[Said]:
    """Every line of every manifest under the root."""
    wanted = set(files(root))
    read = [line for entry in shallow(root, _SUFFIXES) if entry.name in wanted for line in lines(root, entry)]
    if any(_kind(line.told or {}) == "cut" for line in read):
        yield from map(_cut, read)
    else:
        yield from _recordings(read)


def _cut(line: Line) -> Said:
    told = line.told
    if told is None or "id" not in told:
        return _no_object(line)
    if told.get("type") == "MixedCut" or "tracks" in told:
        held = [track.get("cut", {}).get("recording", {}) for track in told.get("tracks", [])]
        paths = [path for recording in held for path in _paths(recording)]
        return said(
            line, str(told["id"]), paths, {}, ("mixed_cut", f"a MixedCut is no recording: save it as one, {_CUT}")
        )
    recording = told.get("recording") or {}
    spoken = [item for item in told.get("supervisions") or [] if isinstance(item, dict)]
    fault = _fault(told, recording)
    whole = said(line, str(told["id"]), _paths(recording), _cells(told.get("custom") or {}, spoken, recording), fault)
    return _cut_out(whole, told, recording)


def _fault(cut: Mapping[str, Any], recording: Mapping[str, Any]) -> Fault | None:
    """Why a cut, or a supervision, is not of one plain file."""
    if not recording:
        return "no_audio", "it has no recording"
    sources = recording.get("sources") or []
    if len(sources) != 1:
        return "several_sources", f"its recording is in {len(sources)} files; expected one"
    if sources[0].get("type") != "file":
        return "not_a_file", f"its recording is of the type {sources[0].get('type')}; expected a file"
    if recording.get("transforms"):
        return "transformed", f"its recording is changed as it is read (transforms): save it as it sounds, {_CUT}"
    channels = recording.get("channel_ids") or sources[0].get("channels") or [0]
    if len(channels) > 1 and isinstance(cut.get("channel"), int):
        return "one_channel", f"it is channel {cut['channel']} of {len(channels)}: save it as it sounds, {_CUT}"
    return None


def _cut_out(whole: Said, cut: Mapping[str, Any], recording: Mapping[str, Any]) -> Said:
    """The same of the stretch that a cut or a supervision is about, where that is more than a frame from the whole recording."""
    rate_hz, start = recording.get("sampling_rate", 0), float(cut.get("start") or 0.0)
    seconds = recording.get("num_samples", 0) / rate_hz if rate_hz else 0.0
    length = float(cut.get("duration") or seconds)
    if whole.fault or (rate_hz and abs(start) * rate_hz < 1 and abs(length - seconds) * rate_hz < 1.5):
        return whole
    return whole.cut(start, start + length)


def _recordings(read: list[Line]) -> Iterator[Said]:
    """Each supervision with its recording; recordings that none speaks of."""
    held = {str(line.told["id"]): line for line in read if line.told and _kind(line.told) == "recording"}
    spoken: dict[str, list[Line]] = defaultdict(list)
    for line in read:
        if line.told is None:
            yield _no_object(line)
        elif _kind(line.told) == "supervision":
            spoken[str(line.told["recording_id"])].append(line)
    for name, found in spoken.items():
        recording = held[name].told or {} if name in held else {}
        for line in found:
            told = line.told or {}
            fault = (
                _fault(told, recording)
                if recording
                else ("no_recording", f"no recording {name} is in the recordings' manifest")
            )
            cells = _cells(told.get("custom") or {}, [told], recording)
            yield _cut_out(said(line, str(told.get("id", name)), _paths(recording), cells, fault), told, recording)
    for name, line in held.items():
        if name not in spoken:
            yield said(line, name, _paths(line.told or {}), {}, _fault({}, line.told or {}))


def _paths(recording: Mapping[str, Any]) -> list[str]:
    return [str(source["source"]) for source in recording.get("sources") or [] if source.get("type") == "file"]


def _cells(custom: Mapping[str, Any], spoken: list[dict[str, Any]], recording: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under our names: what all supervisions say together, and the custom ones."""
    more = {name: value for item in spoken for name, value in (item.get("custom") or {}).items()}
    words = " ".join(str(item["text"]) for item in spoken if item.get("text"))
    speakers = {str(item["speaker"]) for item in spoken if item.get("speaker")}
    plain = {name: item[name] for item in spoken for name in ("gender", "language") if item.get(name)}
    cells = {**plain, **more, **custom} | ({"transcript": words} if words else {})
    if not all(name in cells for name in OWN) and "num_samples" in recording:
        cells["stated_s"] = recording["num_samples"] / (recording.get("sampling_rate") or 1)
    return cells | ({"speaker": speakers.pop()} if len(speakers) == 1 else {})


def _no_object(line: Line) -> Said:
    fault = ("bad_line", "no JSON object with an id; expected one a line")
    return Said(f"{line.name}:{line.number}", (), line.folder, line.where, fault=fault)
