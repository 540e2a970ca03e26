"""The little English that the rules need: words of a task, its noun phrases, verbs that robots are told."""

import re

DETERMINERS = frozenset(
    {"the", "a", "an", "both", "all", "each", "every", "its", "this", "that", "another"}
)
PREPOSITIONS = frozenset(
    ["and", "or", "then", "of", "in", "on", "onto", "into", "inside", "to", "from", "off", "at", "by", "with", "without", "under", "below", "above", "over", "next", "near", "beside", "behind", "between", "around", "across", "through", "toward", "towards", "against", "along", "out", "until", "while", "so", "is", "are", "be", "after", "before", "as", "which", "where", "when", "than", "but"]
)  # fmt: skip
PARTICLES = frozenset(
    ["up", "down", "away", "left", "right", "open", "opened", "close", "closed", "shut", "upright", "facing", "back", "again", "once", "instead", "exactly", "fully", "completely", "only", "it", "using", "forward", "forwards", "backward", "backwards", "sideways", "clockwise", "counterclockwise", "horizontally", "vertically"]
)  # fmt: skip
BREAKS = PREPOSITIONS | PARTICLES
"""Words at which a noun phrase ends."""
SPATIAL = frozenset({"left", "right", "top", "bottom", "front", "back", "side", "middle", "center", "centre", "edge",
                     "end", "corner", "rest", "other", "same", "way", "position", "place", "direction", "degrees",
                     "times", "scene", "start", "inside", "outside", "one", "half", "robot", "gripper", "arm"})  # fmt: skip
"""Nouns that name no object of the scene."""
VERBS = frozenset(
    ["adjust", "align", "arrange", "assemble", "attach", "bring", "brush", "carry", "change", "clean", "clear", "close", "collect", "connect", "cover", "cut", "detach", "disconnect", "dip", "drag", "draw", "drive", "drop", "dump", "empty", "erase", "fetch", "fill", "fit", "flip", "fold", "gather", "get", "give", "grab", "grasp", "grip", "hand", "hang", "hit", "hold", "hook", "insert", "keep", "knock", "lay", "lean", "leave", "lift", "line", "load", "lock", "loosen", "lower", "make", "mix", "move", "nudge", "open", "organize", "pack", "peel", "pick", "pile", "place", "plug", "point", "poke", "polish", "pour", "press", "pull", "push", "put", "raise", "reach", "rearrange", "release", "remove", "reorient", "replace", "reset", "retract", "return", "reverse", "roll", "rotate", "rub", "scoop", "scrape", "screw", "scrub", "seal", "separate", "set", "shake", "shift", "shut", "sift", "slide", "sort", "spin", "spray", "spread", "sprinkle", "squeeze", "stack", "stand", "start", "stir", "stop", "store", "straighten", "sweep", "swing", "switch", "take", "tap", "throw", "tidy", "tie", "tighten", "tilt", "tip", "toggle", "topple", "toss", "touch", "transfer", "turn", "twist", "uncover", "unfold", "unhook", "unload", "unlock", "unplug", "unscrew", "unstack", "untie", "upright", "use", "wash", "wipe", "wrap", "write", "zip", "unzip"]
)  # fmt: skip
"""Verbs that tasks of the Open X-Embodiment sets begin with, and others of their kind."""

NOUNS_IN_LY = frozenset({"jelly", "belly", "assembly", "supply", "lily"})

_WORD = re.compile(r"[a-z0-9']+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case.

    >>> words("Put the DUCK on it.")
    ['put', 'the', 'duck', 'on', 'it']
    """
    return _WORD.findall(text.lower())


def content(text: str) -> set[str]:
    """Return the words of a text that are neither determiners nor prepositions, in the singular."""
    return {singular(word) for word in words(text) if word not in DETERMINERS | PREPOSITIONS}


def is_adverb(word: str) -> bool:
    """Whether a word is an adverb by its ending.

    >>> is_adverb("slowly"), is_adverb("jelly")
    (True, False)
    """
    return word.endswith("ly") and len(word) > 4 and word not in NOUNS_IN_LY


def singular(word: str) -> str:
    """Return a noun without its plural ending, as far as a rule of thumb goes.

    >>> singular("drawers"), singular("glass"), singular("boxes")
    ('drawer', 'glass', 'box')
    """
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def phrases(text: str) -> list[tuple[list[str], bool]]:
    """Return the noun phrases of a task in the singular, in their order, each with whether a determiner begins it.

    A phrase begins at a determiner, after a preposition or after the verb, and ends at the next of these or at a
    particle.

    >>> phrases("put the yellow duck on towel")
    [(['yellow', 'duck'], True), (['towel'], False)]
    """
    found: list[tuple[list[str], bool]] = []
    phrase: list[str] | None = None
    determined = False
    following = ["", *words(text)]
    for before, word in zip(following, [*following[1:], "and"], strict=True):
        starts = word in DETERMINERS
        ends = word in BREAKS or is_adverb(word)
        if starts or (ends and not (word in SPATIAL and not phrase)):
            if phrase:
                found.append((phrase, determined))
            phrase, determined = ([] if starts or word in PREPOSITIONS else None), starts
        elif phrase is None and (before in VERBS or before in PREPOSITIONS):
            phrase, determined = [singular(word)], False
        elif phrase is not None and not (word in VERBS and not phrase and not determined):
            phrase.append(singular(word))
    return [(p, d) for p, d in found if p[-1] not in SPATIAL]


def objects(text: str) -> list[str]:
    """Return the head nouns of the noun phrases.

    >>> objects("Put the yellow duck on the towel and open the left drawer.")
    ['duck', 'towel', 'drawer']
    """
    return [phrase[-1] for phrase, _ in phrases(text)]
