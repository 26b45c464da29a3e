"""How likely the decoder finds a keyword's phrases somewhere in a sound: each inserted into the text that it decoded.

The score of a keyword is the largest of log p(phrase | the text before it) + log p(a word ends there), over the places
of the text and the phrases that the lexicon lists as `scored`, in nats, at most 0. Where a guard of the lexicon speaks
against the phrase there, it is VETO less. Nothing is subtracted for how sure the decoder is of its own text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from string import punctuation

import torch
from tokenizers.decoders import ByteLevel
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from pipeline.core.errors import PrepError
from pipeline.corpora.lexicon import Lexicon
from train.decode import Decoded
from train.text import Score, Tokenizer

VETO = 5.0  # nats
PLACES = 3  # where phrases of a keyword are tried: the likeliest places for a first token of theirs
_CHUNK = 256  # rows of logits at a time: bounds the memory of rows x vocabulary


@dataclass(frozen=True, eq=False)
class Tree:
    """The phrases that begin with one token: each node is a token after its parent, node 0 the first, its own parent.

    ends: node -> (keyword, phrase) of those that end there.
    """

    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [0])
    ends: dict[int, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, tokens: Sequence[int], keyword: str, phrase: str) -> None:
        """Adds a phrase, whose first token is that of the tree."""
        node = 0
        for token in tokens[1:]:
            same = [n for n in range(1, len(self.tokens)) if (self.parents[n], self.tokens[n]) == (node, token)]
            if not same:
                self.tokens.append(token)
                self.parents.append(node)
            node = same[0] if same else len(self.tokens) - 1
        self.ends.setdefault(node, []).append((keyword, phrase))

    @cached_property
    def keywords(self) -> set[str]:
        """The keywords of its phrases."""
        return {keyword for ends in self.ends.values() for keyword, _ in ends}

    @cached_property
    def sees(self) -> Tensor:
        """bool [nodes, nodes]: whether the second node is the first, or stands before it in its phrase."""
        seen = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            seen[node] |= seen[parent]
        return seen


@dataclass(frozen=True, slots=True, eq=False)
class Phrases:
    """The scored phrases of a lexicon in the tokens of a Whisper. edges: bool [vocabulary], tokens that end a word."""

    lexicon: Lexicon
    tokenizer: Tokenizer
    trees: Sequence[Tree]
    edges: Tensor

    @classmethod
    def of(cls, lexicon: Lexicon, tokenizer: Tokenizer, vocabulary: int) -> Phrases:
        """The phrases in every way a recogniser writes them. PrepError where the lexicon has none to score."""
        spotter, trees = lexicon.spotter, dict[int, Tree]()
        if spotter is None or not spotter.scored:
            raise PrepError(
                "the lexicon has no phrases to score: add, for each keyword, a line such as"
                ' `scored = ["살려 주세요"]` to its table [phrases.KEYWORD], or give --decision text'
            )
        for keyword, phrases in spotter.scored.items():
            for phrase in dict.fromkeys(form for each in phrases for form in _forms(each, spotter.joined)):
                tokens = tokenizer.hf(phrase, add_special_tokens=False).input_ids
                trees.setdefault(tokens[0], Tree([tokens[0]])).add(tokens, keyword, phrase)
        return cls(lexicon, tokenizer, list(trees.values()), _edges(tokenizer, vocabulary))

    @property
    def keywords(self) -> list[str]:
        """The keywords that have a score."""
        return sorted({keyword for tree in self.trees for keyword in tree.keywords})

    @property
    def first(self) -> list[int]:
        """The first token of each tree."""
        return [tree.tokens[0] for tree in self.trees]

    def guarded(self, keyword: str, text: str) -> list[bool]:
        """For each phrase of the keyword in a text, whether a guard speaks against it."""
        hits = self.lexicon.spotter.hits(text) if self.lexicon.spotter else []
        return [hit.guard is not None for hit in hits if hit.keyword == keyword]


def _forms(phrase: str, joined: bool) -> list[str]:
    """A phrase as recognisers write it: after a space or not, its words joined or not, with a capital or not."""
    phrase = unicodedata.normalize("NFC", phrase)
    forms = [phrase, phrase.replace(" ", "")] if joined else [phrase, phrase[0].upper() + phrase[1:]]
    return [space + form for form in forms for space in (" ", "")]


def _edges(tokenizer: Tokenizer, vocabulary: int) -> Tensor:
    """bool [vocabulary]: the end of the text, and every token that begins with white space or punctuation."""
    edges, decoder = torch.zeros(vocabulary, dtype=torch.bool), ByteLevel()
    for token, written in enumerate(tokenizer.hf.convert_ids_to_tokens(list(range(tokenizer.end)))):
        mark = written[:1] if written[:1].isascii() else decoder.decode([written])[:1]
        edges[token] = mark in punctuation or mark.isspace() or unicodedata.category(mark or "a").startswith("P")
    edges[tokenizer.end] = True
    return edges


@dataclass(frozen=True, slots=True)
class _Branch:
    """A tree after so many tokens of the text of a clip. first: log p of its first token. row: of its first node."""

    tree: Tree
    clip: int
    place: int
    first: float
    row: int


@torch.inference_mode()
def scores(
    whisper: WhisperForConditionalGeneration, hidden: Tensor, decoded: Decoded, phrases: Phrases
) -> list[dict[str, Score]]:
    """The score of each keyword for each clip. hidden: output of the encoder; decoded: what greedy decoding made of it.

    The decoder runs once for all clips: every node of a tree that is tried at a place is a row, which sees the rows
    before it in its phrase, and of the text what stands before the place, whose keys and values are in the cache. The
    cache is used up. No row sees one of another clip.
    """
    most = whisper.config.max_target_positions - len(phrases.tokenizer.prompt)
    branches = [branch for clip in range(len(hidden)) for branch in _branches(decoded, clip, phrases, most)]
    inputs, positions, mask = (each.to(hidden.device) for each in _inputs(branches, decoded, phrases))
    out = whisper.model.decoder(
        input_ids=inputs,
        position_ids=positions,
        attention_mask=mask,
        encoder_hidden_states=hidden,
        past_key_values=decoded.cache,
        use_cache=True,
    ).last_hidden_state.float()
    clips, rows, before, tokens = torch.tensor(
        [
            (branch.clip, branch.row + node, branch.row + parent, branch.tree.tokens[node])
            for branch in branches
            for node, parent in enumerate(branch.tree.parents)
        ],
        device=hidden.device,
    ).T
    total, edge = _sums(whisper, out[clips, rows], decoded.never, phrases.edges.to(hidden.device))
    totals = torch.zeros(inputs.shape, device=hidden.device).index_put((clips, rows), total)
    steps = (out[clips, before] * whisper.proj_out.weight[tokens]).sum(-1) - totals[clips, before]
    steps = steps.masked_fill(decoded.never[tokens], -torch.inf)
    values = iter(zip(steps.tolist(), (edge - total).tolist(), strict=True))
    best = [_Best(phrases, each) for each in decoded.tokens]
    for branch in branches:
        so_far: list[float] = []
        for node, parent in enumerate(branch.tree.parents):
            step, end = next(values)
            so_far.append(so_far[parent] + step if node else branch.first)
            for keyword, phrase in branch.tree.ends.get(node, ()):
                best[branch.clip].add(keyword, phrase, branch.place, so_far[node] + end)
    return [each.scores() for each in best]


def _branches(decoded: Decoded, clip: int, phrases: Phrases, most: int) -> list[_Branch]:
    """Where a clip's phrases are tried: for each keyword where first tokens are likeliest. most: tokens of a text."""
    tried = [
        (first, place, number)
        for place, shares in enumerate(decoded.watched[clip, : len(decoded.tokens[clip]) + 1].tolist())
        for number, first in enumerate(shares)
        if place + len(phrases.trees[number].tokens) <= most
    ]
    tried.sort(reverse=True)
    chosen: dict[tuple[float, int, int], None] = {}
    for keyword in phrases.keywords:
        own = [each for each in tried if keyword in phrases.trees[each[2]].keywords]
        chosen |= dict.fromkeys(own[:PLACES])
    branches, row = [], 0
    for first, place, number in chosen:
        branches.append(_Branch(phrases.trees[number], clip, place, first, row))
        row += len(phrases.trees[number].tokens)
    return branches


def _inputs(branches: Sequence[_Branch], decoded: Decoded, phrases: Phrases) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids and positions, [clips, rows], and which keys a row sees, bool [clips, 1, rows, past + rows]."""
    past, clips = decoded.cache.get_seq_length(), len(decoded.tokens)
    rows = max(branch.row + len(branch.tree.tokens) for branch in branches)
    inputs, positions = (torch.zeros(clips, rows, dtype=torch.long) for _ in range(2))
    mask = torch.zeros(clips, 1, rows, past + rows, dtype=torch.bool)
    mask[..., 0] = True  # the rows that fill up see something too
    for branch in branches:
        sees, before = branch.tree.sees, len(phrases.tokenizer.prompt) + branch.place
        here = slice(branch.row, branch.row + len(sees))
        inputs[branch.clip, here] = torch.tensor(branch.tree.tokens)
        positions[branch.clip, here] = before + sees.sum(1) - 1
        mask[branch.clip, 0, here, :before] = True
        mask[branch.clip, 0, here, past + here.start : past + here.stop] = sees
    return inputs, positions, mask


def _sums(
    whisper: WhisperForConditionalGeneration, states: Tensor, never: Tensor, edges: Tensor
) -> tuple[Tensor, Tensor]:
    """Log of the summed exponentials of all logits that decoding may take, and of those that end a word; [rows]."""
    parts = []
    for part in states.split(_CHUNK):
        with torch.autocast(part.device.type, enabled=False):  # a sum of so many terms wants all their digits
            logits = whisper.proj_out(part).masked_fill_(never, -torch.inf)
        parts.append((logits.logsumexp(-1), logits.masked_fill_(~edges, -torch.inf).logsumexp(-1)))
    total, edge = zip(*parts, strict=True)
    return torch.cat(total), torch.cat(edge)


@dataclass(frozen=True, slots=True)
class _Best:
    """The best phrase of each keyword for one clip. tokens: of its text; tried: (value, place, phrase) by keyword."""

    phrases: Phrases
    tokens: Sequence[int]
    tried: dict[str, list[tuple[float, int, str]]] = field(default_factory=dict)

    def add(self, keyword: str, phrase: str, place: int, value: float) -> None:
        """One phrase at one place."""
        self.tried.setdefault(keyword, []).append((value, place, phrase))

    def scores(self) -> dict[str, Score]:
        """The score of each keyword; guards are asked of those alone that could be the best."""
        text = self.phrases.tokenizer.text(self.tokens)
        scores: dict[str, Score] = {}
        for keyword, tried in self.tried.items():
            inside = self.phrases.guarded(keyword, text)
            best = (-torch.inf, 0, 0)
            for value, place, phrase in sorted(tried, reverse=True):
                if value <= best[0]:
                    break
                before = self.phrases.tokenizer.text(self.tokens[:place])
                is_guarded = (bool(inside) and all(inside)) or any(self.phrases.guarded(keyword, before + phrase)[-1:])
                best = max(best, (value - VETO * is_guarded, len(before), len(before) + len(phrase.strip())))
            length = max(len(text), best[2])
            scores[keyword] = Score(best[0], best[1] / length, best[2] / length)
        return scores
