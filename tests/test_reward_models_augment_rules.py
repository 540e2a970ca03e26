"""Each rule for a proposed task notices what it is for, and lets a good task pass."""

import dataclasses

import pytest

from reward_models.augment.roles import Description
from reward_models.augment.rules import RULES, Candidate, broken_rule
from reward_models.augment.words import phrases

SEEN = Description(
    ("yellow duck", "blue block", "towel", "plate", "cardboard box", "left drawer"),
    "the duck is on the table, the drawer is closed",
    "the robot puts the duck on the towel",
    "the duck is on the towel",
    ("close the left drawer", "leave the block on the table"),
)
WORDS_21 = "Put the duck on the plate" + " and the block on it" * 3
GOOD = Candidate("Put the duck on the plate", 2, "put the duck on the towel", SEEN)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("ascii_line", {"task": "Put the duck on the plate\u2026"}),
        ("ascii_line", {"task": "把鸭子放在盘子上"}),
        ("ascii_line", {"task": "Put the duck\non the plate"}),
        ("no_control_tokens", {"task": "Put the duck on the plate<|im_end|>"}),
        ("no_control_tokens", {"task": ""}),
        ("short", {"task": "Put the duck on the plate " + "and the block on the plate " * 4}),
        ("short", {"task": f"{WORDS_21} or beside it again"}),
        ("verb_first", {"task": "The duck goes on the plate"}),
        ("verb_first", {"task": "Setze die Ente auf den Teller"}),
        ("verb_first", {"task": "asdf qwer"}),
        ("verb_first", {"task": ""}),
        ("no_mention", {"task": "Put the duck on the plate as in the original"}),
        ("no_mention", {"task": "Put the duck on the plate with score 2"}),
        ("no_mention", {"task": "Put the duck on the plate for 2/5"}),
        ("no_mention", {"task": "Fail to put the duck on the plate"}),
        ("grounded", {"task": "Put the duck on the chair"}),
        ("grounded", {"task": "Put spoon in bowl"}),
        ("ordered", {"task": "PUT the duck on  the towel."}),
        ("ordered", {"lower": ("put the duck on the plate",)}),
        (
            "not_easier",
            {"task": "Put the duck on it", "original": "put the duck on it and the towel"},
        ),
        ("not_done_at_start", {"task": "Close the left drawer."}),
        ("not_done_at_start", {"task": "Close the left drawer and leave the block on the table"}),
        ("keeps_object", {"task": "Put the block on the towel", "level": 3}),
        ("keeps_object", {"task": "Put the block on the plate", "level": 4}),
    ],
)
def test_a_rule_notices(rule: str, change: dict[str, object]) -> None:
    candidate = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]
    assert RULES[rule](candidate) is not None
    assert broken_rule(candidate) is not None


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"task": "Put the block on the towel", "level": 1},
        {"task": "Put the block on the towel", "level": 2},
        {"task": "Put the duck on the towel and close the left drawer", "level": 3},
        {"task": "Put the duck on the towel and open the drawer", "level": 3},
        {"task": "Move the yellow duck to the left of the plate", "level": 4},
        {"task": "Put both ducks on the plate.", "level": 4},
        {"task": "Put the duck beside the plate slowly", "level": 4},
        {"task": f"{WORDS_21} or beside it", "level": 4},
    ],
)
def test_a_good_task_passes_every_rule(change: dict[str, object]) -> None:
    assert broken_rule(dataclasses.replace(GOOD, **change)) is None  # type: ignore[arg-type]


def test_the_first_words_of_real_tasks_are_verbs() -> None:
    tasks = [
        "put cup from counter or drying rack into sink",
        "flip pot upright which is in sink",
        "turn lever vertical to front",
        "Wipe down the table with cloth",
        "Unfold the cloth",
        "Slide the drawer shut",
    ]
    empty = Description(("x",), "", "", "")
    for task in tasks:
        assert RULES["verb_first"](Candidate(task, 1, "zzz", empty)) is None


def test_noun_phrases_are_found_with_and_without_determiners() -> None:
    assert [p[-1] for p, _ in phrases("put carrot on plate")] == ["carrot", "plate"]
    assert [p[-1] for p, _ in phrases("pick up the small boxes and open both drawers")] == [
        "box",
        "drawer",
    ]
    assert phrases("move it back") == []
