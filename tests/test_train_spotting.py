"""The score of a keyword: again by plain transformers without a cache, whatever the neighbours, and its guards."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from string import punctuation

import pytest
import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from pipeline.core.errors import PrepError
from pipeline.corpora import lexicon as lexicons
from train import spotting
from train.decode import decode
from train.pretrained import load_whisper
from train.spotting import PLACES, VETO, Phrases, Tree, scores
from train.text import Score, Tokenizer

Model = tuple[WhisperForConditionalGeneration, Tokenizer, Tensor]
LEXICON = """
other = "others"
[keywords]
helpme = ["도와줘"]
saveme = ["살려줘"]
[spotting]
[phrases.helpme]
phrases = ["도와 (줘|주세요)"]
scored = ["도와 줘", "도와 주세요"]
[phrases.saveme]
phrases = ["살려 줘"]
scored = ["살려 줘"]
[phrases.saveme.guards]
object = ["(를|을) ~"]
"""


@pytest.fixture(scope="module")
def model() -> Model:
    """A random model that says something else of every clip, and sounds as its encoder would give them out."""
    whisper, tokenizer = load_whisper("tiny", "random", 0)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in whisper.parameters():
            parameter.mul_(4)
        whisper.model.decoder.embed_tokens.weight[tokenizer.end].normal_(0, 0.1, generator=chance)  # some end soon
    return whisper, tokenizer, 3 * torch.randn(6, 50, 64, generator=chance)


@pytest.fixture(scope="module")
def phrases(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Phrases:
    path: Path = tmp_path_factory.mktemp("lexicon") / "lexicon.toml"
    path.write_text(LEXICON, "utf-8")
    return Phrases.of(lexicons.read(path), model[1], model[0].config.vocab_size)


def written(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes of a token of a byte-level vocabulary, by its table of characters: printable ones are themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in plain}
    table |= {chr(256 + n): byte for n, byte in enumerate(byte for byte in range(256) if byte not in plain)}
    return bytes(table[mark] for mark in tokenizer.hf.convert_ids_to_tokens(token))


def ends_a_word(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token is the end, or begins with white space or punctuation."""
    if token >= tokenizer.end:
        return token == tokenizer.end
    mark = written(tokenizer, token).decode("utf-8", errors="ignore")[:1]
    return bool(mark) and (mark.isspace() or mark in punctuation or unicodedata.category(mark)[0] == "P")


def again(
    whisper: WhisperForConditionalGeneration, tokenizer: Tokenizer, hidden: Tensor, most: int
) -> dict[str, float]:
    """The scores of one clip by the definition: a phrase after every prefix, a forward pass for each."""
    edges = torch.tensor([ends_a_word(tokenizer, token) for token in range(whisper.config.vocab_size)])

    def shares(ids: list[int]) -> Tensor:
        """log p of the next token after each of the ids."""
        with torch.inference_mode():
            out = whisper(encoder_outputs=(hidden[None],), decoder_input_ids=torch.tensor([[*tokenizer.prompt, *ids]]))
        logits = out.logits[0, 3:].double()
        logits[:, tokenizer.end + 1 :] = -torch.inf
        return logits.log_softmax(-1)

    text = decode(whisper, hidden[None], tokenizer, most).tokens[0]
    forms = {
        "helpme": ["도와 줘", "도와줘", "도와 주세요", "도와주세요"],
        "saveme": ["살려 줘", "살려줘"],
    }
    best = {}
    for keyword, each in forms.items():
        spelled = [
            tokenizer.hf(space + form, add_special_tokens=False).input_ids for form in each for space in ("", " ")
        ]
        places = sorted(
            {(float(shares(text[:n])[-1][ids[0]]), n, ids[0]) for n in range(len(text) + 1) for ids in spelled},
            reverse=True,
        )[:PLACES]
        values = []
        for _, place, first in places:
            for ids in spelled:
                if ids[0] == first:
                    after = shares([*text[:place], *ids])[place:]
                    value = sum(float(row[token]) for row, token in zip(after, ids, strict=False))
                    values.append(value + float(after[-1][edges].logsumexp(-1)))
        best[keyword] = max(values)
    return best


def test_a_score_is_that_of_plain_transformers_without_a_cache(model: Model, phrases: Phrases) -> None:
    whisper, tokenizer, hidden = model
    decoded = decode(whisper, hidden, tokenizer, 12, phrases.first)
    assert len({len(tokens) for tokens in decoded.tokens}) > 1
    found = scores(whisper, hidden, decoded, phrases)
    for clip, sound in zip(found, hidden, strict=True):
        wanted = again(whisper, tokenizer, sound, 12)
        assert {keyword: score.value for keyword, score in clip.items()} == pytest.approx(wanted, abs=1e-3)
        assert all(0 <= score.begin < score.end <= 1 for score in clip.values())
    assert len({round(clip["helpme"].value, 3) for clip in found}) == len(hidden)


def test_the_score_of_a_clip_does_not_depend_on_its_neighbours(
    model: Model, phrases: Phrases, monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper, tokenizer, hidden = model
    together = scores(whisper, hidden, decode(whisper, hidden, tokenizer, 12, phrases.first), phrases)
    monkeypatch.setattr(spotting, "_CHUNK", 7)
    for clip, sound in zip(together, hidden, strict=True):
        (alone,) = scores(whisper, sound[None], decode(whisper, sound[None], tokenizer, 12, phrases.first), phrases)
        for keyword, score in clip.items():
            assert score.value == pytest.approx(alone[keyword].value, abs=1e-3)


def test_text_as_long_as_the_decoder_has_positions_leaves_no_place_behind_its_end(
    model: Model, phrases: Phrases
) -> None:
    whisper, tokenizer, hidden = model
    most = whisper.config.max_target_positions - len(tokenizer.prompt)
    decoded = decode(whisper, hidden[:1], tokenizer, most, phrases.first)
    decoded.tokens[0][:] = [*decoded.tokens[0], *[0] * most][: decoded.watched.shape[1]]
    with torch.inference_mode():
        decoded.watched[0, -1] = 0.0  # nowhere is a first token likelier than where there is no room for the rest
    assert scores(whisper, hidden[:1], decoded, phrases)


def test_phrases_that_begin_alike_share_their_tokens() -> None:
    tree = Tree([1])
    tree.add([1, 2, 3], "helpme", "a")
    tree.add([1, 2, 4], "saveme", "b")
    assert (tree.tokens, tree.parents) == ([1, 2, 3, 4], [0, 0, 1, 1])
    assert tree.ends == {2: [("helpme", "a")], 3: [("saveme", "b")]}
    assert tree.sees.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]


@pytest.mark.parametrize(
    ("text", "place", "is_guarded"),
    [("", 0, False), ("분위기를", 99, True), ("분위기를 살려줘", 0, True), ("몸매를 살려줘 살려줘", 0, False)],
)
def test_a_guard_before_the_phrase_or_of_every_one_in_the_text_costs_the_veto(
    phrases: Phrases, text: str, place: int, is_guarded: bool
) -> None:
    tokens = phrases.tokenizer.hf(text, add_special_tokens=False).input_ids
    best = spotting._Best(phrases, tokens)
    best.add("saveme", " 살려줘", min(place, len(tokens)), -1.0)
    assert best.scores()["saveme"].value == -1.0 - VETO * is_guarded


def test_where_the_phrase_stands_in_the_text_is_a_share_of_its_length(phrases: Phrases) -> None:
    tokens = phrases.tokenizer.hf("여기 도와줘", add_special_tokens=False).input_ids
    best = spotting._Best(phrases, tokens)
    best.add("helpme", " 도와줘", len(phrases.tokenizer.hf("여기", add_special_tokens=False).input_ids), -0.5)
    assert best.scores()["helpme"] == Score(-0.5, 2 / 6, 5 / 6)


def test_a_lexicon_without_scored_phrases_is_refused_in_words(tmp_path: Path, phrases: Phrases) -> None:
    (tmp_path / "lexicon.toml").write_text(LEXICON.replace("scored", "calls"), "utf-8")
    with pytest.raises(PrepError, match="no phrases to score: add, for each keyword, a line such as `scored = "):
        Phrases.of(lexicons.read(tmp_path / "lexicon.toml"), phrases.tokenizer, 300)
