"""YAML text: scalars of YAML 1.2, lines, and one clear message for each syntax error."""

from __future__ import annotations

import pytest
import yaml

from anycastd.profile import yaml_reader
from anycastd.profile.key_paths import quote_value

LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("65535:0", "65535:0"),
        ("65010:10", "65010:10"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("fd00::1", "fd00::1"),
        ("010", 10),
        ("+7", 7),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("9" * 50, "9" * 50),
        ("1.5", 1.5),
        ("2.", 2.0),
        (".5e1", 5.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("off", "off"),
        ("yes", "yes"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("<<", "<<"),
        ("=", "="),
        ('"010"', "010"),
        ("'null'", "null"),
        ("|\n  10\n", "10\n"),
    ],
)
def test_scalars_of_yaml_1_2(text: str, value: object, loader: object) -> None:
    """Plain scalars are read by the core schema of YAML 1.2; quoted ones are text."""
    read = yaml_reader.read_yaml(f"key: {text}", loader)
    assert read.problems == ()
    assert read.value == {"key": value}
    assert type(read.value["key"]) is type(value)


@pytest.mark.parametrize("loader", LOADERS)
def test_lines_of_paths(loader: object) -> None:
    """Each path has a line: that of the key or of the beginning of the item, also with aliases."""
    text = "a:\n  - 1\n  - {b: &x\n      {c: 2}}\noff: *x\n1:\n  ~: {}\n"
    read = yaml_reader.read_yaml(text, loader)
    assert read.value == {"a": [1, {"b": {"c": 2}}], "off": {"c": 2}, "1": {"~": {}}}
    assert read.lines == {
        (): 1,
        ("a",): 1,
        ("a", 0): 2,
        ("a", 1): 3,
        ("a", 1, "b"): 3,
        ("a", 1, "b", "c"): 4,
        ("off",): 5,
        ("off", "c"): 4,
        ("1",): 6,
        ("1", "~"): 7,
    }


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("a:\n\tb: 1", 2, "a tab is used to indent", "indent with spaces"),
        ("a: 1\n  \tb: 1\n c", 2, "a tab is used to indent", "indent with spaces"),
        (
            "a: b: c",
            1,
            "there is a colon where no key can begin",
            "indent this line like the keys beside it, or put text with a colon in quotes",
        ),
        (
            "a: 1\n b: 2",
            2,
            "there is a colon where no key can begin",
            "indent this line like the keys beside it, or put text with a colon in quotes",
        ),
        (
            "a: - b",
            1,
            "there is a list item where none can begin",
            "put each `- item` on a line of its own, or write [item, item]",
        ),
        ("a: 1\n'b\n\nc: 2", 2, "a quotation mark is opened here and not closed", "close it"),
        ("a: 1\nb: [1,\nc", 2, "a list is opened with [ and not closed", "close it with ]"),
        ("a: 1\nb: {d: 1", 2, "a block is opened with { and not closed", "close it with }"),
        (
            "a: [::1]",
            1,
            "a value is missing, or begins with a character that YAML reserves",
            "write a value, in quotes if it begins with a colon or a bracket",
        ),
        (
            "a: @b",
            1,
            "a value begins with a character that YAML reserves",
            "put the value in quotes",
        ),
        (
            'a: "\\q"',
            1,
            "text in double quotes contains an invalid backslash",
            "use single quotes",
        ),
        (
            'a: "\\UFFFFFFFF"',
            1,
            "text in double quotes contains an invalid backslash",
            "use single quotes",
        ),
        (
            "a: !e!x y",
            1,
            "a tag (a word with !) has no meaning here",
            "remove it, or put the value in quotes",
        ),
        (
            "%YAML 3.0\n---\na: 1",
            1,
            "the file requires another version of YAML",
            "remove the line that begins with %YAML",
        ),
        (
            "- a\nb: c",
            2,
            "this line does not fit the lines above it",
            "check its indentation (two spaces per level), and that quotes and brackets are closed",
        ),
        ("a: 1\nb: \x00", 2, "the character U+0000 cannot be part of YAML text", "remove it"),
        ("a: \ud800", 1, "the character U+D800 cannot be part of YAML text", "remove it"),
        (
            "a: 1\n--- \nb: 2",
            2,
            "a second document begins here",
            "keep one profile per file, without a line --- inside it",
        ),
        (
            "a: !!python/object:os.x y",
            1,
            "the tag tag:yaml.org,2002:python/object:os.x is not used in a profile",
            'remove it; text that looks like a number is written in quotes: "65010"',
        ),
        (
            "a: *x",
            1,
            "the alias *x refers to no complete value above this line",
            "mark a value above it with &x, or write the value here",
        ),
        (
            "a: &x\n  b: *x",
            2,
            "the alias *x refers to no complete value above this line",
            "mark a value above it with &x, or write the value here",
        ),
        (
            "a: " + "[" * 40,
            1,
            "blocks and lists are nested more than 32 deep",
            "write it flatter; no rule needs that many levels",
        ),
    ],
)
def test_unreadable(text: str, line: int, message: str, remedy: str, loader: object) -> None:
    """A syntax error gives one problem with either loader: line, message and remedy."""
    read = yaml_reader.read_yaml(text, loader)
    assert read.value is None
    assert read.problems == (yaml_reader.YamlProblem((), line, message, remedy),)


@pytest.mark.parametrize("loader", LOADERS)
def test_keys(loader: object) -> None:
    """Duplicate keys and keys that are not text are problems; the first value is used."""
    read = yaml_reader.read_yaml("a: 1\nb: {c: 1, c: 2}\n? [d]\n: 1\na: 2", loader)
    assert read.value == {"a": 1, "b": {"c": 1}}
    assert read.problems == (
        yaml_reader.YamlProblem(
            ("b", "c"), 2, "the same key is twice in line 2", "keep one of them"
        ),
        yaml_reader.YamlProblem((), 3, "a key is a list or a block", "write a word as the key"),
        yaml_reader.YamlProblem(("a",), 5, "the same key is in lines 1 and 5", "keep one of them"),
    )


@pytest.mark.parametrize("loader", LOADERS)
def test_aliases_are_bounded(loader: object) -> None:
    """Aliases of aliases cannot expand a small file to a large one."""
    doubled = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
    (problem,) = yaml_reader.read_yaml(f"a0: &a0 x\n{doubled}", loader).problems
    assert problem.message == "aliases expand this file to more than 100000 values"


TOO_DEEP = "blocks and lists are nested more than 32 deep"


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("unit", "each"), [("[", 1), ("{a: ", 1), ("[{", 2), ("- ", 1), ("[\n", 1)]
)
# Ours is 32; libyaml 0.2.6 stops at 1,000, and reads 1,024 characters ahead to find a key's colon.
@pytest.mark.parametrize(
    "depth", [32, 34, 998, 999, 1000, 1001, 1024, 1026, 9_998, 10_002, 200_000]
)
def test_too_deep_gives_our_message(unit: str, each: int, depth: int, loader: object) -> None:
    """Beyond our own limit of depth the message is ours, with the right line, by any libyaml."""
    text = "a: 1\nb:\n  " + unit * (depth // each)
    (problem,) = yaml_reader.read_yaml(text, loader).problems
    # One level is the mapping around it.
    line = 3 + (31 if unit.endswith("\n") else 0)
    assert (problem.message, problem.line) == (TOO_DEEP, line)


@pytest.mark.parametrize("loader", LOADERS)
def test_depth_up_to_our_limit_is_read(loader: object) -> None:
    """32 levels are read, one more is refused: lists in one line, blocks, and blocks by lines."""
    for start, unit, end in (("", "[", "]"), ("", "- ", ""), ("", "{a: ", "}")):
        read = yaml_reader.read_yaml(start + unit * 32 + "1" + end * 32, loader)
        assert not read.problems, unit
        (problem,) = yaml_reader.read_yaml(start + unit * 33 + "1" + end * 33, loader).problems
        assert (problem.message, problem.line) == (TOO_DEEP, 1), unit
    indented = ["  " * level + "a:" for level in range(40)]
    assert not yaml_reader.read_yaml("\n".join(indented[:32]), loader).problems
    (problem,) = yaml_reader.read_yaml("\n".join(indented), loader).problems
    assert (problem.message, problem.line) == (TOO_DEEP, 33)


def test_another_error_in_a_deep_text_keeps_its_message() -> None:
    """In a text that is deep, but not too deep, another error keeps its own message."""
    (problem,) = yaml_reader.read_yaml("a: " + "[" * 20 + "]" * 20 + "\nb: [1,\nc").problems
    assert problem.message == "a list is opened with [ and not closed"


def test_a_quoted_value_is_one_short_line() -> None:
    """A quoted value has no control characters and a maximum length."""
    assert quote_value("a\n\x1b[0mb") == "a\\n\\x1b[0mb"
    assert quote_value("x" * 100) == "x" * 57 + "..."
    assert quote_value("") == "''"
    assert quote_value("a b") == "'a b'"
    assert (
        quote_value(None),
        quote_value(True),
        quote_value(2),
    ) == (
        "nothing",
        "true",
        "2",
    )
