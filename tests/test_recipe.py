"""Recipes: every fault at once, each with what to type; examples executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import RecipeError
from pipeline.engine import recipe
from pipeline.stages import filter, mix

WHOLE = """
seed = 7
[ingest]
corpora = ["aihub", "cochlscene"]
[filter]
scenarios = ["도움요청", "성폭행(성범죄)"]
max_s = 12
[resample]
[mix]
snr_db = [20, "5:15"]
noise = ["cochlscene=2"]
"""


def read(folder: Path, text: str) -> recipe.Recipe:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return recipe.read(path)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder / 'mine.toml'}: ") for line in caught.value.faults]


OURS = [
    path
    for path in sorted(recipe.SHIPPED.glob("*.toml"))
    if not path.name.startswith(("lexicon", "train", "paper-tables"))
]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_shipped_recipes_have_no_fault(path: Path) -> None:
    held = recipe.read(path)
    assert held.name == path.stem
    assert held.examples


def test_what_a_recipe_says_is_what_is_done(tmp_path: Path) -> None:
    held = read(tmp_path, WHOLE)
    assert (held.name, held.seed, held.ingest.corpora) == ("mine", 7, ("aihub", "cochlscene"))
    assert held.filter == filter.Options(scenarios=("도움요청", "강제추행(성범죄)"), max_s=12.0)
    assert held.mix == mix.Options(snr_db=(20.0, "5:15"), noise=("cochlscene=2",))
    assert held.resample is not None


def test_a_stage_that_is_not_named_is_not_run(tmp_path: Path) -> None:
    held = read(tmp_path, '[ingest]\ncorpora = ["aihub"]')
    assert held.resample is None
    assert held.mix is None
    assert held.filter == filter.Options()


def test_the_canonical_form_spells_defaults_out_and_ignores_how_it_was_written(tmp_path: Path) -> None:
    corpora = '[ingest]\ncorpora = ["aihub"]\n'
    terse = read(tmp_path, f"{corpora}[resample]\n[mix]").canonical()
    wordy = read(
        tmp_path,
        f"seed = 0 # said at length\n[mix]\nsnr_db = [20.0]\ncopies = 1\n[resample]\nrate_hz = 16000\n{corpora}",
    ).canonical()
    assert terse == wordy
    assert terse["filter"]["max_s"] == 30.0
    assert str(tmp_path) not in str(terse)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    said = faults(
        tmp_path,
        """
sead = 1
seed = "x"
lexicon = "nowhere.toml"
[ingest]
corpora = ["aihub", "coclscene"]
[filter]
min_sec = 1
scenarios = ["도움요쳥"]
splits = ["trian"]
dev_share = 2
[resample]
quality = "HI"
[mix]
snr_db = ["5:2"]
noise = ["cochlscene=0"]
[stroe]
[[example]]
row = { scenari = "화재" }
[[example]]
rwo = {}
""",
    )
    wanted = [
        'unknown key "sead": did you mean "seed"?',
        "seed: found 'x', expected a whole number",
        "nowhere.toml: no such lexicon",
        '[ingest] corpora: unknown corpus "coclscene": did you mean "cochlscene"?',
        '[filter] unknown key "min_sec": did you mean "min_s"?',
        '[filter] scenarios: unknown scenario "도움요쳥": did you mean "도움요청"?',
        '[filter] splits: unknown split "trian": did you mean "train"?',
        "[filter] dev_share: found 2, expected: less than 1",
        "[resample] quality: found 'HI', expected: 'QQ', 'LQ', 'MQ', 'HQ' or 'VHQ'",
        '[mix] snr_db: found "5:2", expected a number of dB, or LOW:HIGH such as 5:20',
        '[mix] noise: found "cochlscene=0", expected NAME or NAME=WEIGHT with a weight above 0',
        'unknown key "stroe": did you mean "store"?',
        'unknown key "rwo": did you mean "row"?',
    ]
    for fault in wanted:
        assert any(fault in line for line in said), (fault, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ingest", "not TOML"),
        ("", "[ingest] is missing"),
        ("[ingest]", "[ingest] corpora is missing"),
        ("ingest = 3", "[ingest]: found 3, expected a table"),
        ('[ingest]\ncorpora = "aihub"', "corpora"),
        ("[ingest]\ncorpora = []", "corpora"),
        ('[ingest]\ncorpora = ["aihub"]\n[mix]', "[mix] needs [resample]"),
        (
            '[ingest]\ncorpora = ["aihub"]\n[resample]\n[mix]\nnoise = ["ms-snsd"]',
            '"ms-snsd" is not among [ingest] corpora',
        ),
        ('[ingest]\ncorpora = ["aihub"]\n[resample]\n[mix]\nsnr_db = []', "snr_db"),
        (
            '[ingest]\ncorpora = ["aihub"]\n[resample]\n[mix]\nkeep = ["aihup"]',
            'unknown corpus "aihup": did you mean "aihub"?',
        ),
        ('[ingest]\ncorpora = ["aihub", "aihub"]', "aihub"),
        ('seed = true\n[ingest]\ncorpora = ["aihub"]', "seed: found True"),
        ('lexicon = 3\n[ingest]\ncorpora = ["aihub"]', "lexicon: found 3, expected text"),
        ('example = 3\n[ingest]\ncorpora = ["aihub"]', "[[example]]"),
        ('[ingest]\ncorpora = ["aihub"]\n[example]\nkeyword = "saveme"', "[[example]]"),
        ('[ingest]\ncorpora = ["aihub"]\n[store]\nshard_clips = 0', "shard_clips"),
        ('[ingest]\ncorpora = ["aihub"]\n[filter]\nwhere = "frame > 3"', "where"),
        ('[ingest]\ncorpora = ["aihub"]\n[filter]\nmax_s = nan', "max_s"),
        ('[ingest]\ncorpora = ["aihub"]\n[resample]\n[mix]\nsnr_db = [nan]', "snr_db"),
        ('[ingest]\ncorpora = ["aihub"]\n[resample]\n[mix]\nsnr_db = [inf]', "snr_db"),
    ],
)
def test_a_fault_is_told(text: str, said: str, tmp_path: Path) -> None:
    assert said in "\n".join(faults(tmp_path, text))


HEAD = '[ingest]\ncorpora = ["aihub"]\n[filter]\nmin_s = 0.5\n[[example]]\n'


@pytest.mark.parametrize(
    "example",
    [
        'row = { transcript = "살려 주세요" }\nkeyword = "saveme"',
        'row = { transcript = "살려 주세요", frames = 100 }\ndropped = "too_short"',
        'row = { scenario = "실외" }\ndropped = "scenario"',
        'row = { kind = "noise", noise_label = "noise" }',
        'row = { kind = "speech" }\ndropped = "no_transcript"',
        'row = { transcript = "x", labels = { gender = "여성" } }',
        'row = { transcript = "x", clipped_share = 0.5 }\ndropped = "clipped"',
    ],
)
def test_an_example_that_holds_is_no_fault(example: str, tmp_path: Path) -> None:
    assert len(read(tmp_path, HEAD + example).examples) == 1


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ('row = { transcript = "살려 주세요" }\nkeyword = "helpme"', 'has keyword "saveme", expected "helpme"'),
        ('row = { transcript = "x" }\ndropped = "scenario"', 'was kept, expected dropped "scenario"'),
        ('row = { transcript = "x", frames = 100 }', "expected kept"),
        ('row = { scenario = "실외" }\ndropped = "too_short"', "was dropped 'scenario'"),
        ('row = { scenari = "실외" }', 'unknown column "scenari": did you mean "scenario"?'),
        ('row = { frames = "many" }', "many"),
        ('row = { split = "trian" }\ndropped = "scenario"', "was dropped 'split'"),
    ],
)
def test_an_example_that_fails_is_a_fault_of_the_recipe(example: str, said: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, HEAD + example)
    assert fault.startswith("[[example]] 1: ")
    assert said in fault


def test_examples_obey_the_condition_of_the_recipe(tmp_path: Path) -> None:
    text = HEAD.replace("min_s = 0.5", "where = \"labels['gender'] = '여성'\"")
    read(tmp_path, text + 'row = { transcript = "x", labels = { gender = "남성" } }\ndropped = "where"')
    assert faults(tmp_path, text + 'row = { transcript = "x", labels = { gender = "남성" } }')


def test_recipes_are_found_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        recipe.find("paper")
        == recipe.find("paper.toml")
        == recipe.find("recipes/paper.toml")
        == recipe.SHIPPED / "paper.toml"
    )
    (tmp_path / "paper.toml").write_text("")
    assert recipe.find("paper.toml") == Path("paper.toml")  # one's own comes first


def test_a_recipe_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(RecipeError, match=r'papr: no such recipe: did you mean "paper"\?'):
        recipe.find("papr")
    with pytest.raises(RecipeError, match=r"elsewhere/paper.toml: no such recipe"):
        recipe.find("elsewhere/paper.toml")


def test_paper_says_what_its_commands_do_bare() -> None:
    """`prep filter` and the rest without options follow recipes/paper.toml."""
    paper = recipe.read(recipe.SHIPPED / "paper.toml")
    assert paper.filter.where == "corpus <> 'ms-snsd' OR split = 'test'"  # the out-of-domain test is not learnt from
    assert paper.filter.model_copy(update={"where": None}) == filter.Options()
    assert paper.mix == mix.Options(noise=("cochlscene",))
