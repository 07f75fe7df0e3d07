"""Make text of others printable: nothing in it can move a cursor, colour or fake a line (pure)."""

from __future__ import annotations

END = " ..."
"""What stands at the end of a text that was cut."""


def make_printable(text: str, max_length: int) -> str:
    r"""Replace what is not printable by its escape (``\n``, ``\x1b``, ``\u202e``), and cut.

    Printable is what ``str.isprintable`` calls so: letters of every script and the space, but no
    control character, no other space, no mark that changes the direction of writing, and no
    surrogate.  The result has ``max_length`` characters at most (``max_length`` is greater than 4);
    a longer text ends with " ...".  Takes time in proportion to ``max_length``, not to the text.
    """
    cut = text[: max_length + 1]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else _escape(c) for c in cut)
    return cut if len(cut) <= max_length else cut[: max_length - len(END)] + END


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
