"""Other words for the thirteen tasks: twelve of each for training, two more that only tests use.

Every word of the two is in some wording for training: a small model that starts from nothing cannot know a word that it never met,
but it should understand known words in a sentence that is new.
"""

_PUT = (
    "place the {toy} on the {target}",
    "move the {toy} onto the {target}",
    "set the {toy} down on the {target}",
    "bring the {toy} to the {target} and release it",
    "transfer the {toy} to the {target}",
    "pick up the {toy} and put it on the {target}",
    "lay the {toy} on top of the {target}",
    "get the {toy} onto the {target}",
    "leave the {toy} on the {target}",
    "the {toy} should be on the {target}",
    "let the {toy} end up on the {target}",
    "take the {toy} and put it on the {target}",
    # held out
    "take the {toy} and leave it on the {target}",
    "the {toy} should end up on the {target}",
)
_PICK = (
    "lift the {toy}",
    "grasp the {toy} and lift it",
    "take the {toy} off the table",
    "raise the {toy} from the table",
    "pick the {toy} up",
    "pick the {toy} up from the table",
    "hold the {toy} in the air",
    "lift up the {toy} with the gripper",
    "keep hold of the {toy} in the air",
    "get hold of the {toy} and lift it up",
    "get the {toy} up and keep hold of it",
    "bring the {toy} up",
    # held out
    "get the {toy} off the table and keep hold of it",
    "bring the {toy} up into the air",
)
_OPEN = (
    "pull the {drawer} drawer open",
    "pull out the {drawer} drawer",
    "slide the {drawer} drawer open",
    "get the {drawer} drawer open",
    "open the drawer on the {drawer}",
    "draw out the {drawer} drawer",
    "open up the {drawer} drawer",
    "use the handle to open the {drawer} drawer",
    "make the {drawer} drawer open",
    "let the {drawer} drawer stand open",
    "tug the {drawer} drawer open",
    "pull the {drawer} drawer out of the cabinet",
    # held out
    "make the {drawer} drawer stand open",
    "tug the {drawer} drawer out of the cabinet",
)
_CLOSE = (
    "push the {drawer} drawer shut",
    "shut the {drawer} drawer",
    "slide the {drawer} drawer closed",
    "push in the {drawer} drawer",
    "close the drawer on the {drawer}",
    "get the {drawer} drawer closed",
    "press the {drawer} drawer back into the cabinet",
    "close up the {drawer} drawer",
    "make sure the {drawer} drawer is closed",
    "the {drawer} drawer ends up closed",
    "return the {drawer} drawer into the cabinet",
    "push the {drawer} drawer to its closed position",
    # held out
    "make sure the {drawer} drawer ends up closed",
    "return the {drawer} drawer to its closed position",
)
_OPEN_BOTH = (
    "open the two drawers",
    "pull both drawers open",
    "pull out both drawers",
    "slide both drawers open",
    "open the left drawer and the right drawer",
    "no drawer should be closed",
    "let no drawer stay closed",
    "draw out both drawers",
    "tug both drawers open",
    "make sure no drawer is closed",
    "leave both drawers open",
    "pull both drawers out of the cabinet",
    # held out
    "leave no drawer closed",
    "tug both drawers out of the cabinet",
)
_CLOSE_BOTH = (
    "close the two drawers",
    "push both drawers shut",
    "shut both drawers",
    "slide both drawers closed",
    "close the left drawer and the right drawer",
    "no drawer should be open",
    "let no drawer stay open",
    "push in both drawers",
    "make sure no drawer is open",
    "leave both drawers closed",
    "return both drawers into the cabinet",
    "push both drawers to their closed positions",
    # held out
    "leave no drawer open",
    "return both drawers to their closed positions",
)
HELD_OUT = 2
"""Number of wordings at the end of each list that only tests use."""

TASKS = (
    *(
        f"put the {toy} on the {target}"
        for toy in ("duck", "block")
        for target in ("towel", "plate")
    ),
    "pick up the duck",
    "pick up the block",
    *(f"{verb} the {drawer} drawer" for verb in ("open", "close") for drawer in ("left", "right")),
    "open both drawers",
    "close both drawers",
)


def wordings(task: str) -> tuple[str, ...]:
    """Other words for a task; the last `HELD_OUT` are held out."""
    words = task.split()
    if words[0] == "put":
        return tuple(w.format(toy=words[2], target=words[-1]) for w in _PUT)
    if words[0] == "pick":
        return tuple(w.format(toy=words[-1]) for w in _PICK)
    if "both" in words:
        return _OPEN_BOTH if words[0] == "open" else _CLOSE_BOTH
    return tuple(w.format(drawer=words[2]) for w in (_OPEN if words[0] == "open" else _CLOSE))


def seen(task: str) -> tuple[str, ...]:
    """Wordings for training."""
    return wordings(task)[:-HELD_OUT]


def held_out(task: str) -> tuple[str, ...]:
    """Wordings for tests."""
    return wordings(task)[-HELD_OUT:]
