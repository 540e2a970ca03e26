"""Only a text that states one level is read, and only as RoboReward's authors would read it."""

import math
import random

import numpy as np
import pytest

from reward_models.protocol.answer import (
    Token,
    digit_probabilities,
    parse_published,
    parse_strict,
    score_text,
)


def level(text: str) -> int | None:
    answer = parse_strict(text)
    return answer.level if answer else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ANSWER: 4", 4),
        ("answer:5", 5),
        ("The duck is on the towel.\n\nANSWER: 5\n", 5),
        ("**ANSWER:** 3", 3),
        ("ANSWER: <2>", 2),
        ("ANSWER: 4 - Near Completion", 4),
        ("ANSWER: 2.", 2),
        ("ANSWER:\n1", 1),
        ("3", 3),
        (" 3.\n", 3),
        ("ANSWER: 2\nSo I say:\nANSWER: 2", 2),
        ("ANSWER: 4\nOnly 1 of 2 drawers is open.", 4),
    ],
)
def test_a_level_that_is_stated_is_read(text: str, expected: int) -> None:
    assert level(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The robot opened the drawer.",
        "ANSWER:",
        "ANSWER: four",
        "ANSWER: 0",
        "ANSWER: 6",
        "ANSWER: 7",
        "ANSWER: 10",
        "ANSWER: 45",
        "ANSWER: -3",
        "ANSWER: 3.5",
        "ANSWER: 3,5",
        "ANSWER: 4/5",
        "ANSWER: 4 / 5",
        "ANSWER: 50%",
        "ANSWER: 5%",
        "ANSWER: 3 or 4",
        "ANSWER: 3-4",
        "ANSWER: 4th",
        "ANSWER: 2\nOn second thoughts, ANSWER: 3",
        "ANSWER: <score>\nANSWER: 3",
        "3 of 4 requirements are met",
        "5 stars",
        "ANSWER: \N{ARABIC-INDIC DIGIT FOUR}",
        "ANSWER 4",
        "ANSWER : 4",
        "I cannot help with that.",
    ],
)
def test_a_doubtful_text_is_unreadable(text: str) -> None:
    assert level(text) is None


def test_nothing_is_read_that_the_authors_read_otherwise() -> None:
    rng = random.Random(0)
    parts = ["ANSWER", ":", " ", "\n", "1", "3", "5", "7", ".", "/", "or", "*", "<", ">", "-", "a"]
    read = 0
    for _ in range(20_000):
        text = "".join(rng.choices(parts, k=rng.randint(1, 9)))
        text = rng.choice(["", "ANSWER: "]) + text
        found = level(text)
        if found is not None:
            read += 1
            assert parse_published(text) == found, text
    assert read > 500


def test_the_position_is_that_of_the_digit() -> None:
    text = "Of 5 things 2 are done. ANSWER: 2"
    answer = parse_strict(text)
    assert answer is not None
    assert answer.position == len(text) - 1


def logs(**probabilities: float) -> dict[str, float]:
    return {token.strip("_"): math.log(p) for token, p in probabilities.items()}


def test_probabilities_are_those_of_the_digits() -> None:
    read = digit_probabilities(logs(_1=0.1, _4=0.5, _5=0.2, The=0.2).items())
    assert read is not None
    probabilities, off_format = read
    np.testing.assert_allclose(probabilities, [0.125, 0, 0, 0.625, 0.25])
    assert off_format == pytest.approx(0.2)


@pytest.mark.parametrize(
    "alternatives",
    [
        {},
        {"The": -0.1},
        {"4": math.nan},
        {"4": -0.1, "The": math.nan},
        {"4": 0.5},
        {"4": -0.1, "5": -0.1},
        {"4": -math.inf},
    ],
)
def test_numbers_that_are_no_probabilities_are_refused(alternatives: dict[str, float]) -> None:
    assert digit_probabilities(alternatives.items()) is None


def test_a_free_text_takes_the_probabilities_of_its_digit() -> None:
    tokens = [
        Token("ANSWER", {"ANSWER": -0.1}),
        Token(":", {":": -0.1}),
        Token(" 4", logs(_4=0.7, _5=0.3)),
    ]
    score = score_text("ANSWER: 4", tokens, {})
    assert score.level == 4
    assert score.probabilities is not None
    np.testing.assert_allclose(score.probabilities, [0, 0, 0, 0.7, 0.3])


def test_tokens_that_do_not_make_up_the_text_give_no_probabilities() -> None:
    score = score_text("ANSWER: 4", [Token("ANSWER: 5", logs(_5=1.0))], {})
    assert (score.level, score.probabilities) == (4, None)


def test_an_unreadable_text_is_kept_for_the_log() -> None:
    score = score_text("no idea", [], {"model": "x"})
    reason = "no single level of 1..5 stated"
    assert (score.level, score.text) == (None, f"{reason}: no idea")
    assert score.manifest == {"model": "x", "unreadable": reason}
