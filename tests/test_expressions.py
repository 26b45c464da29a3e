"""Regular expressions that a person or a stranger gives: they are checked, and they end."""

import re

import pytest

from pipeline.core import expressions
from pipeline.core.errors import RecipeError

# (expression, text) that try every way there is
ENDLESS = [
    ("(((((a+)+)+)+)+)+$", "a" * 60 + "!"),
    (r"(\w+\s*)+$", "살려 주세요 " * 30 + "!"),
    ("(.*)*(.*)*(.*)*x", "a" * 10_000),
    ("a*a*a*a*a*b", "a" * 5_000),
    ("(?:a|b)*c", "ab" * 10_000),
]


@pytest.mark.parametrize(("expression", "text"), ENDLESS, ids=[expression for expression, _ in ENDLESS])
@pytest.mark.parametrize("work", [expressions.search, expressions.erased])
def test_what_does_not_end_is_ended(monkeypatch, work, expression, text):
    monkeypatch.setattr(expressions, "_SECONDS", 0.2)
    with pytest.raises(RecipeError, match=r"--erase .* did not end within 0.2 s on .*write it without"):
        work(expression, text, "--erase")


def test_a_text_past_the_longest_is_refused_by_its_length():
    with pytest.raises(RecipeError, match=r"takes texts of up to 100,000 characters; .* has 100,001"):
        expressions.search("a", "b" * (expressions.LONGEST + 1), "--erase")


def test_what_ends_is_what_re_makes_of_it():
    text = "b/ 살려주세요 (SP:비명) 도와주세요"
    assert expressions.erased(r"\(SP:[^)]*\)", text, "--erase") == re.sub(r"\(SP:[^)]*\)", " ", text)
    match = expressions.search(r"(\w+)주세요$", text, "--speaker")
    assert match is not None
    assert match[1] == "도와"
    assert expressions.search("none", text, "--speaker") is None


@pytest.mark.parametrize("expression", ["(", "(" * 5_000 + ")" * 5_000, "a{99999999999999999999}", "\\"])
def test_what_is_no_expression_is_said_in_words(expression):
    with pytest.raises(ValueError, match="is no regular expression"):
        expressions.checked(expression)
