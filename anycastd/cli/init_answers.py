"""The answers that `anycastd init` needs: how each is asked for, read, and refused (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from anycastd.profile.compare import compare_regions
from anycastd.profile.document import Problem
from anycastd.profile.model import Profile
from anycastd.profile.schema_errors import suggest_similar
from anycastd.profile.starter import Answers, Names, Site, write_pair
from anycastd.profile.validate import validate_profile
from anycastd.system.printable import make_printable

PLATFORMS = ("azure", "aws", "plain")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_MAX_ASN = 4294967295
_MAX_NEIGHBORS = 16
_AZURE_PEER = 65515
_PAIR = 2


class AnswerError(ValueError):
    """An answer that cannot be used; the message says what is wrong, and the right form."""


def read_platform(text: str) -> str:
    """Read a platform; raises AnswerError."""
    platform = text.strip().lower()
    if platform in PLATFORMS:
        return platform
    near = suggest_similar(platform, PLATFORMS)
    hint = f"did you mean {near}?" if near else "write azure, aws or plain"
    raise AnswerError(f"{_quote(text)} is no platform; {hint}")


def read_address(text: str) -> str:
    """Read the address of one host; raises AnswerError."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        raise AnswerError(f"{_quote(text)} is no IP address; write one such as 10.0.2.10") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise AnswerError(f"{address} is not the address of one host; write one such as 10.0.2.10")
    return str(address)


def read_vip(text: str) -> str:
    """Read a VIP, with or without the length of its prefix; raises AnswerError."""
    address, slash, length = text.strip().partition("/")
    vip = read_address(address)
    if slash and length != str(ip_address(vip).max_prefixlen):
        raise AnswerError(f"{_quote(text)} is no single address; write {vip}")
    return vip


def read_addresses(text: str) -> tuple[str, ...]:
    """Read addresses between commas or spaces; raises AnswerError."""
    words = text.replace(",", " ").split()
    if not 0 < len(words) <= _MAX_NEIGHBORS:
        raise AnswerError("there is no address; write them such as 10.0.1.4,10.0.1.5")
    return tuple(map(read_address, words))


def read_networks(text: str) -> tuple[str, ...]:
    """Read prefixes between commas or spaces; raises AnswerError."""
    try:
        return tuple(str(ip_network(word)) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise AnswerError(f"{make_printable(str(error), 80)}; write 10.0.0.0/16") from None


def read_region(text: str) -> str:
    """Read the name of a region; raises AnswerError."""
    return _read_name(text, _REGION, "northeurope")


def read_service(text: str) -> str:
    """Read the name of a service; raises AnswerError."""
    return _read_name(text, _SERVICE, "web")


def _read_name(text: str, pattern: re.Pattern[str], example: str) -> str:
    if not pattern.fullmatch(text.strip()):
        raise AnswerError(
            f"{_quote(text)} cannot be a name: letters, digits, - and _ only; such as {example}"
        )
    return text.strip()


def read_asn(text: str) -> int:
    """Read an AS number; raises AnswerError."""
    word = text.strip().upper().removeprefix("AS")
    if not (word.isascii() and word.isdecimal() and 0 < int(word[:11]) <= _MAX_ASN):
        raise AnswerError(f"{_quote(text)} is no AS number; write one such as 65010")
    return int(word)


def _quote(text: str) -> str:
    return f'"{make_printable(text.strip(), 60)}"'


@dataclass(frozen=True, slots=True)
class Question:
    """One of the five questions: its text, an example, and the options that answer it.

    ``read`` reads an answer: the values of the options, in their order.  It raises AnswerError.
    """

    text: str
    example: str
    options: tuple[str, ...]
    read: Callable[[str, Mapping[str, object]], tuple[object, ...]]


def _ask_platform(text: str, _: Mapping[str, object]) -> tuple[object, ...]:
    return (read_platform(text),)


def _ask_vip(text: str, _: Mapping[str, object]) -> tuple[object, ...]:
    return (read_vip(text),)


def _ask_regions(text: str, _: Mapping[str, object]) -> tuple[object, ...]:
    words = text.replace(",", " ").split()
    if len(words) != _PAIR:
        raise AnswerError("two names are needed; write northeurope westeurope")
    here, other = map(read_region, words)
    if here == other:
        raise AnswerError(f"both are {here}; give each region its own name")
    return here, other


def _ask_addresses(text: str, _: Mapping[str, object]) -> tuple[object, ...]:
    first, *rest = read_addresses(text)
    if not rest:
        raise AnswerError("the neighbors are missing; write 10.0.2.10 10.0.1.4 10.0.1.5")
    return first, tuple(rest)


def _ask_numbers(text: str, known: Mapping[str, object]) -> tuple[object, ...]:
    words = text.replace(",", " ").split()
    azure = known.get("platform") == "azure"
    if len(words) == 1 and azure:
        words.append(str(_AZURE_PEER))
    if len(words) != _PAIR:
        raise AnswerError("two numbers are needed; write 65010 65020")
    return tuple(map(read_asn, words))


QUESTIONS = (
    Question(
        "Which platform: azure, aws, or plain (routers of your own)?",
        "azure",
        ("platform",),
        _ask_platform,
    ),
    Question(
        "Which anycast address (VIP)? It is the same in each region, outside of their networks.",
        "198.51.100.10",
        ("vip",),
        _ask_vip,
    ),
    Question(
        "How are the two regions called, this one first?",
        "northeurope westeurope",
        ("region", "other_region"),
        _ask_regions,
    ),
    Question(
        "Which addresses: this appliance's own, then those of its BGP neighbors?",
        "10.0.2.10 10.0.1.4 10.0.1.5",
        ("local_address", "neighbors"),
        _ask_addresses,
    ),
    Question(
        "Which AS numbers: your own, then the neighbors'?",
        "65010 65515",
        ("local_as", "peer_as"),
        _ask_numbers,
    ),
)
"""The five questions of `anycastd init`, in this order."""


def build_answers(known: Mapping[str, object], names: Names) -> Answers:
    """Build the answers from the values of all options; raises KeyError where one is missing."""
    here = Site(str(known["region"]), str(known["local_address"]), _texts(known["neighbors"]))
    # What is not known of the other region is this one's, and is marked in its profile.
    told = known.get("other_local_address") is not None and bool(known.get("other_neighbors"))
    other = Site(
        str(known["other_region"]),
        str(known.get("other_local_address") or here.local_address),
        _texts(known.get("other_neighbors") or here.neighbors),
        known=told,
    )
    return Answers(
        platform=str(known["platform"]),
        vip=str(known["vip"]),
        here=here,
        other=other,
        local_as=int(str(known["local_as"])),
        peer_as=int(str(known["peer_as"])),
        names=names,
        service=str(known.get("service") or "web"),
        networks=_texts(known.get("networks") or ()),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, tuple | list) else ()


def judge_answers(answers: Answers, files: tuple[str, str]) -> tuple[Problem, ...]:
    """Return the errors of the pair of profiles that the answers lead to; ``files``: their names.

    Warnings are no reason to refuse: `anycastd check` tells them.
    """
    pair = list(zip(files, write_pair(answers), strict=True))
    found = {file: validate_profile(text, file) for file, text in pair}
    problems = [problem for it in found.values() for problem in it.problems]
    sound: list[tuple[str, Profile]] = [
        (file, it.profile) for file, it in found.items() if it.profile is not None
    ]
    if len(sound) == len(pair):
        lines = {file: it.lines for file, it in found.items()}
        problems += compare_regions(sound, lines).problems
    return tuple(problem for problem in problems if not problem.warning)
