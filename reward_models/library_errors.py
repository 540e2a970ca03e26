"""What code may raise that somebody else wrote, where it is tried out."""

LIBRARY_ERRORS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a library raises when it is called in a way that its version does not know."""
