"""Calls among words: phrases and guards of a lexicon, found anywhere in what was spoken.

A pattern is plain text with a few marks:

    <name>   one item of the set of that name          [x]  x or nothing        (x|y)  x or y
    *        anything of the same sentence, up to 12   _    the edge of a word
             letters (24 where words are spaced)       ?    a question mark
    ^  $     start, end of a sentence                  +    not the edge of a word
    ~        the phrase itself (in guards alone)       !    first in a guard: an exception to it

A guard with ~ looks at what stands before and after the phrase; one without ~ speaks where it overlaps the phrase.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import did_you_mean
from pipeline.core.expressions import in_time

KINDS = ("joined", "spaced")
TABLE = ("phrases", "scored", "guards", "calls", "others")  # of a keyword
_PAUSE, _SPACE = "[ .]", " "  # what may be between letters of a phrase, of a guard: a pause may be a full stop
_EDGE = "(?:(?<![^ .?])|(?![^ .?]))"
_MARKS = {"(": "(?:", ")": ")", "[": "(?:", "]": ")?", "|": "|", "?": " *[?]"}
_MARKS |= {"^": "(?:(?<![^.?])|(?<=[.?] ))", "$": "(?![^.?])", "_": _EDGE, "+": "(?<=[^ .?])(?=[^ .?])"}
_LONGEST, _MOST_LEVELS = 200_000, 20  # letters of a pattern with the sets in it, sets in one another
_SET = re.compile("<([^>]*)>")
_STOPS = re.compile(r"[.!…。！？?]+|[^\w\s.?]|_|\s+")
_LONG = re.compile(r"([가-힣])([아어오우으이에애야여요유]+)")
_AGAIN = re.compile(r"([^\W\d])\1{2,}")
# A vowel by its number in a Hangul syllable -> the syllables that lengthen it.
_LENGTHENS = "아 애 아야 애 어 에 어여 에 오 아 애 이 오요 우 어 에 이 우유 으 이 이".split()  # noqa: SIM905 - one line


@dataclass(frozen=True, slots=True)
class Hit:
    """A phrase in a text. start, end: its place in `spoken(text)`. guard: name of that which speaks against it."""

    keyword: str
    phrase: str
    start: int
    end: int
    guard: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence of the lexicon file and what it is: a call of the keyword, or none of it."""

    keyword: str
    text: str
    is_call: bool


@dataclass(frozen=True, slots=True)
class _Context:
    """Patterns of what surrounds a phrase: before it, after it, on both sides, or overlapping it."""

    before: re.Pattern[str] | None
    after: re.Pattern[str] | None
    around: Sequence[tuple[re.Pattern[str], re.Pattern[str]]]
    over: re.Pattern[str] | None

    def holds(self, text: str, start: int, end: int) -> bool:
        """Whether one of the patterns is around the phrase at this place."""
        return bool(
            (self.before and self.before.search(text, 0, start))
            or (self.after and self.after.match(text, end))
            or any(before.search(text, 0, start) and after.match(text, end) for before, after in self.around)
            or (self.over and any(m.start() < end and start < m.end() for m in self.over.finditer(text)))
        )


@dataclass(frozen=True, slots=True)
class _Guard:
    """What makes a phrase something else, unless an exception holds."""

    name: str
    context: _Context
    exceptions: _Context

    def speaks(self, text: str, start: int, end: int) -> bool:
        """Whether the guard speaks against the phrase at this place."""
        return self.context.holds(text, start, end) and not self.exceptions.holds(text, start, end)


@dataclass(frozen=True, slots=True)
class Spotter:
    """The compiled phrases of a lexicon.

    source: the tables `spotting` and `phrases` of its file, to write it again. scored: for each keyword the phrases,
    as plain text, whose probability in a sound is its score.
    """

    source: Mapping[str, Any]
    scored: Mapping[str, Sequence[str]] = field(compare=False)
    ignore: Mapping[int, None] = field(compare=False)
    phrases: Mapping[str, re.Pattern[str]] = field(compare=False)
    guards: Mapping[str, Sequence[_Guard]] = field(compare=False)
    examples: Sequence[Example] = field(compare=False)

    @property
    def joined(self) -> bool:
        """Whether spaces between words mean little in this language."""
        return bool(self.source["spotting"].get("words", "joined") == "joined")

    def spoken(self, text: str) -> str:
        """The text as patterns see it.

        NFC, lower case; sentences end with . or ?, words with one space; no other punctuation; vowels and letters that
        are drawn out are short again.
        """
        text = unicodedata.normalize("NFC", text).lower().translate(self.ignore)
        text = _STOPS.sub(lambda m: _plain(m.group()), text)
        text = _AGAIN.sub(r"\1", _LONG.sub(_shortened, text))
        return re.sub(" *([.?]) *", r"\1 ", " ".join(text.split())).strip()

    def hits(self, text: str) -> list[Hit]:
        """Every phrase in the text, in order of place, also those that a guard speaks against."""
        plain = self.spoken(text)
        hits = []
        for keyword, pattern in self.phrases.items():
            with in_time(keyword, plain, "lexicon: phrases and guards of"):
                for match in pattern.finditer(plain):
                    phrase = match.group().rstrip(" .")
                    start, end = match.start(), match.start() + len(phrase)
                    guard = next((g.name for g in self.guards[keyword] if g.speaks(plain, start, end)), None)
                    hits.append(Hit(keyword, phrase, start, end, guard))
        return sorted(hits, key=lambda hit: (hit.start, -hit.end))


def _plain(mark: str) -> str:
    """What a run of one kind of punctuation or white space becomes."""
    if "?" in mark or "？" in mark:
        return "?"
    if mark[0] in ".!…。！":
        return "."
    return " " if mark.isspace() or mark[0] in ",;:-，、：；/–—()[]「」" else ""


def _shortened(match: re.Match[str]) -> str:
    """A syllable without those after it that only lengthen its vowel: 줘어어 is 줘."""
    syllable, rest = match.groups()
    code = ord(syllable) - 0xAC00
    return str(syllable + rest.lstrip(_LENGTHENS[code // 28 % 21])) if code % 28 == 0 else match.group()


class PatternError(ValueError):
    """A pattern that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class _Translator:
    """Patterns to regular expressions. between: what may stand between two letters, or between two words."""

    sets: Mapping[str, Sequence[str]]
    joined: bool
    between: str

    def expressions(self, patterns: Sequence[str], place: str) -> tuple[list[str], list[str]]:
        """(the regular expressions of patterns, longest pattern first; faults, each with the place)."""
        expressions, faults = [], []
        for pattern in sorted(patterns, key=len, reverse=True):
            try:
                re.compile("".join(_MARKS.get(mark, "x") for mark in re.sub("[^][()|~]|^!", "", pattern)))
                expressions.append(self.expression(pattern))
            except PatternError as error:
                faults.append(f'{place} "{pattern}": {error}')
            except (re.error, RecursionError) as error:
                faults.append(f'{place} "{pattern[:80]}": its brackets do not match, or are too deep ({error})')
        return expressions, faults

    def guard_faults(self, patterns: Sequence[str], place: str) -> list[str]:
        """What is wrong with the patterns of a guard."""
        return [f for each in patterns for f in self.expressions(each.removeprefix("!").split("~", 1), place)[1]]

    def expression(self, pattern: str, inside: tuple[str, ...] = ()) -> str:
        """The regular expression of a pattern. PatternError where a mark or a set is wrong. inside: sets around it."""
        parts, place, size = [], 0, 0
        pattern = unicodedata.normalize("NFC", pattern).lower()
        gap = f"{self.between}*" if self.joined else ""
        marks = _MARKS | {"*": "[^.?]{0,12}?" if self.joined else "[^.?]{0,24}?"}
        marks |= {" ": "" if self.joined else f"{self.between}*{_EDGE}"}
        while place < len(pattern):
            mark = pattern[place]
            place += 1
            if mark == "<":
                name, closed, _ = pattern[place:].partition(">")
                if not closed or name not in self.sets or name in inside:
                    raise PatternError(f"<{name}> is no set of [spotting.sets]{did_you_mean(name, self.sets)}")
                items = sorted(self.sets[name], key=len, reverse=True)
                parts.append(f"(?:{'|'.join(self.expression(item, (*inside, name)) for item in items)})")
                place += len(name) + 1
            elif mark in marks:
                parts.append(marks[mark])
            elif mark.isalnum() or unicodedata.category(mark) == "Mn":
                parts.append(mark + gap)
            elif mark not in "'’":
                raise PatternError(f'"{mark}" has no meaning in a pattern')
            size += len(parts[-1]) if parts else 0
            if size > _LONGEST:
                raise PatternError(f"with its sets it has more than {_LONGEST:,} letters")
        return "".join(parts)

    def whole(self, expression: str) -> str:
        """The expression, of whole words where words are spaced."""
        return expression if self.joined else rf"(?<!\w)(?:{expression})(?!\w)"

    def before(self, expression: str) -> str:
        """The expression where a phrase begins after it."""
        return rf"{'' if self.joined else _EDGE}(?:{expression}) *\Z"

    def after(self, expression: str) -> str:
        """The expression where a phrase ends before it."""
        return f" *(?:{expression}){'' if self.joined else _EDGE}"


def read(content: Mapping[str, Any], keywords: Sequence[str]) -> tuple[Spotter | None, list[str]]:
    """(the phrases of a lexicon file, its faults); None where it has no phrases, or a fault.

    content: the parsed file. keywords: those that raise an alarm.
    """
    spotting, tables = content.get("spotting", {}), content.get("phrases", {})
    if "phrases" not in content and "spotting" not in content:
        return None, []
    if faults := _shape_faults(spotting, tables, keywords):
        return None, faults
    sets, joined = spotting.get("sets", {}), spotting.get("words", "joined") == "joined"
    if large := _too_large(sets):
        what = f"more than {_LONGEST:,} letters with the sets in them, or more than {_MOST_LEVELS} levels of sets"
        return None, [f"[spotting.sets] {', '.join(large[:3])}: {what}"]
    near, far = _Translator(sets, joined, _PAUSE), _Translator(sets, joined, _SPACE)
    phrases, guards, examples, common = {}, {}, [], []
    for name, items in sets.items():
        faults += far.expressions(items, f"[spotting.sets] {name}")[1]
    for name, patterns in spotting.get("guards", {}).items():
        faults += far.guard_faults(patterns, f"[spotting.guards] {name}")
    if not faults:
        common = [_guard(far, name, patterns) for name, patterns in spotting.get("guards", {}).items()]
    for keyword, table in tables.items():
        expressions, more = near.expressions(table["phrases"], f"[phrases.{keyword}] phrases")
        faults += more
        own = table.get("guards", {})
        for name, patterns in own.items():
            faults += far.guard_faults(patterns, f"[phrases.{keyword}.guards] {name}")
        if not faults:
            phrases[keyword] = re.compile(far.whole("|".join(expressions)))
            guards[keyword] = [*common, *(_guard(far, name, patterns) for name, patterns in own.items())]
        examples += [Example(keyword, text, True) for text in (*table.get("calls", []), *table.get("scored", []))]
        examples += [Example(keyword, text, False) for text in table.get("others", [])]
    if faults:
        return None, list(dict.fromkeys(faults))
    ignore = {ord(letter): None for letter in spotting.get("ignore", "")}
    source = {"spotting": spotting, "phrases": tables}
    scored = {keyword: tuple(table["scored"]) for keyword, table in tables.items() if table.get("scored")}
    return Spotter(source, scored, ignore, phrases, guards, examples), []


def _too_large(sets: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of sets that are too long with the sets in them, or in each other."""
    sizes = dict.fromkeys(sets, 1)
    for _ in range(_MOST_LEVELS + 1):
        before = sizes
        sizes = {}
        for name, items in sets.items():
            inner = [before.get(within, 0) for item in items for within in _SET.findall(item)]
            sizes[name] = min(_LONGEST, sum(map(len, items)) + sum(inner))
    return [name for name, size in sizes.items() if size >= _LONGEST or size != before[name]]


def _guard(far: _Translator, name: str, patterns: Sequence[str]) -> _Guard:
    """A guard, compiled; patterns that begin with ! are its exceptions."""
    exceptions = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return _Guard(name, _context(far, [p for p in patterns if not p.startswith("!")]), _context(far, exceptions))


def _context(far: _Translator, patterns: Sequence[str]) -> _Context:
    before: list[str] = []
    after: list[str] = []
    over: list[str] = []
    around = []
    for pattern in patterns:
        left, phrase, right = (far.expression(part) if part != "~" else part for part in pattern.partition("~"))
        if not phrase:
            over.append(left)
        elif left and right:
            around.append((re.compile(far.before(left)), re.compile(far.after(right))))
        else:
            (before if left else after).append(left or right)
    return _Context(
        re.compile(far.before("|".join(before))) if before else None,
        re.compile(far.after("|".join(after))) if after else None,
        around,
        re.compile(far.whole("|".join(over))) if over else None,
    )


def _shape_faults(spotting: object, tables: object, keywords: Sequence[str]) -> list[str]:
    """What in the tables [spotting] and [phrases] has not the shape that is expected."""
    if not isinstance(spotting, dict) or not isinstance(tables, dict) or not tables:
        return ['expected a table [phrases.KEYWORD] for each keyword, with `phrases = ["살려주세요"]`']
    faults = [f"[spotting] {fault}" for fault in _unknown(spotting, ("words", "ignore", "sets", "guards"))]
    if spotting.get("words", "joined") not in KINDS:
        faults.append(f'[spotting] words: expected "joined" or "spaced", found {spotting["words"]!r}')
    if not isinstance(spotting.get("ignore", ""), str):
        faults.append(f"[spotting] ignore: expected letters to leave out, found {spotting['ignore']!r}")
    lists = {f"[spotting.{name}]": spotting.get(name, {}) for name in ("sets", "guards")}
    for keyword, table in tables.items():
        place = f"[phrases.{keyword}]"
        if keyword not in keywords:
            faults.append(f"{place}: no keyword of the table [keywords]{did_you_mean(keyword, keywords)}")
        if not isinstance(table, dict) or not table.get("phrases"):
            faults.append(f'{place}: expected `phrases = ["살려주세요"]`, found {table!r}')
            continue
        faults += [f"{place} {fault}" for fault in _unknown(table, TABLE)]
        lists[place] = {name: value for name, value in table.items() if name in TABLE and name != "guards"}
        lists[f"[phrases.{keyword}.guards]"] = table.get("guards", {})
    for place, values in lists.items():
        if not isinstance(values, dict):
            faults.append(f"{place}: expected a table of lists, found {values!r}")
            continue
        faults += [
            f"{place} {name}: expected a list of texts in quotes, found {value!r}"
            for name, value in values.items()
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value)
        ]
    return faults


def _unknown(table: Mapping[str, object], known: Sequence[str]) -> list[str]:
    return [f'unknown key "{key}"{did_you_mean(key, known)}' for key in table if key not in known]
