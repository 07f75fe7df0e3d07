"""Parsers of the schema's formats: text -> addresses, prefixes, communities and the like."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from anycastd.bgp.route import COMMUNITY_NAMES, canonicalize_community
from anycastd.profile.checks import Target, Url
from anycastd.profile.document import Format, FormatError
from anycastd.profile.key_paths import quote_value
from anycastd.profile.model import Address, Network
from anycastd.profile.regions import Endpoint

NO_INTERFACE = "none"
"""Value of ``interface`` in a profile: the VIP is not on this machine."""
NEXT_HOP_SELF = "self"
"""Value of ``next_hop`` in a profile: the local address of each session (RFC 4271, 5.1.3)."""
NO_LINK_LOCAL = "write a global or a unique local address (fd00::/8)"
"""What to do about a link-local address of IPv6."""
MAX_UINT16 = 65535
"""The highest number of 16 bits: a port, or half of a community (RFC 1997)."""
MAX_URL_PATH = 1024
"""Characters of a URL after its host."""


def _parse_address(text: str) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        message = f"{quote_value(text)} is not an IP address"
        raise FormatError(message, "write one such as 10.0.2.10, without a prefix length") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        remedy = NO_LINK_LOCAL if address.is_link_local else "write the address without %INTERFACE"
        raise FormatError(f"{quote_value(text)} names an interface", remedy)
    return address


def _parse_ipv4(text: str) -> IPv4Address:
    address = _parse_address(text)
    if isinstance(address, IPv4Address):
        return address
    raise FormatError(f"{text} is not an IPv4 address", "write one such as 10.0.2.10")


def _parse_interface(text: str, example: str) -> IPv4Interface | IPv6Interface:
    """Parse an address with a prefix length in digits: ipaddress would take netmasks as well."""
    address, slash, length = text.partition("/")
    if not slash:
        whole = _parse_address(text)
        raise FormatError("the prefix length is missing", f"write {whole}/{whole.max_prefixlen}")
    if re.fullmatch(r"[0-9]{1,3}", length) and "%" not in address:
        try:
            return ipaddress.ip_interface(text)
        except ValueError:
            pass
    raise FormatError(f"{quote_value(text)} is not a prefix", f"write one such as {example}")


def _parse_prefix(text: str) -> Network:
    interface = _parse_interface(text, "10.0.0.0/16")
    if interface.ip != interface.network.network_address:
        raise FormatError(f"{text} has host bits set", f"write {interface.network}")
    return interface.network


def _parse_vip(text: str) -> IPv4Interface | IPv6Interface:
    return _parse_interface(text, "203.0.113.10/32")


def _parse_next_hop(text: str) -> Address | str:
    if text == NEXT_HOP_SELF:
        return NEXT_HOP_SELF
    try:
        return _parse_address(text)
    except FormatError as error:
        raise FormatError(
            error.message, f"write {NEXT_HOP_SELF}, or an address such as 10.0.2.20"
        ) from None


def _parse_community(text: str) -> str:
    """Parse a community: two numbers (RFC 1997), three (large, RFC 8092) or a name."""
    try:
        return canonicalize_community(text)
    except ValueError:
        pass
    pair = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", text)
    if pair:
        message = f"{text} is not a community of two numbers from 0 to {MAX_UINT16}"
        raise FormatError(message, f"write a large one, such as {pair[1]}:0:{pair[2]}")
    names = ", ".join(COMMUNITY_NAMES)
    message = f"{quote_value(text)} is not a community"
    raise FormatError(message, f"write 65010:100; or, large, 65010:1:2; or a name: {names}")


def _parse_endpoint(text: str) -> Endpoint:
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= MAX_UINT16:
        message = f"{quote_value(text)} is not an address with a port"
        raise FormatError(message, "write one such as 10.0.2.10:9480")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = _parse_address(host[1:-1] if bracketed else host)
    except FormatError as error:
        raise FormatError(error.message, "write one such as 10.0.2.10:9480") from None
    if bracketed != isinstance(address, IPv6Address):
        whole = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        raise FormatError(
            f"{quote_value(text)} has brackets where it should not, or lacks them",
            f"write {whole}:{int(port)}",
        )
    return Endpoint(address, int(port))


def _parse_path(text: str) -> str:
    if not text.startswith("/") or not text.isprintable():
        message = f"{quote_value(text)} is not an absolute path"
        raise FormatError(message, "write the full path, beginning with /")
    return text


_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?")
_TARGET_EXAMPLE = "write one such as 10.0.3.10:5432 or db.example.com:5432"


def _parse_target(text: str) -> Target:
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        raise FormatError(f"{quote_value(text)} is not a host with a port", _TARGET_EXAMPLE)
    return Target(_parse_host(host, text, _TARGET_EXAMPLE), _parse_port(port, text))


def _parse_port(port: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= MAX_UINT16:
        message = f"{quote_value(port)} in {quote_value(text)} is not a TCP port"
        raise FormatError(message, "write a port from 1 to 65535")
    return int(port)


def _parse_host(host: str, text: str, example: str) -> str:
    """Parse an address (IPv6 in brackets) or a host's name; digits and dots are an address."""
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed or (host and not host.strip("0123456789.")):
        address = _parse_address(host[1:-1] if bracketed else host)
        if bracketed != isinstance(address, IPv6Address):
            raise FormatError(f"{quote_value(text)} has an IPv4 address in brackets", example)
        return str(address)
    if not _HOST_NAME.fullmatch(host):
        message = f"{quote_value(host)} in {quote_value(text)} is no name of a host"
        raise FormatError(message, example)
    return host


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?")
_URL_EXAMPLE = "write one such as http://10.0.3.10:8080/health"


def _parse_url(text: str) -> Url:
    """Parse a URL of HTTP (RFC 9110 section 4.2), without user and fragment, in ASCII only."""
    match = _URL.fullmatch(text)
    if not match:
        raise FormatError(f"{quote_value(text)} is not a URL", _URL_EXAMPLE)
    scheme, authority, path, fragment = match.groups()
    if scheme.lower() not in {"http", "https"}:
        message = f"a check knows no {quote_value(scheme)} URLs"
        raise FormatError(message, "write http:// or https://")
    if "@" in authority:
        raise FormatError("a user in the URL is not supported", "remove it, and the @")
    if fragment:
        message = f"{quote_value(fragment)} would not be sent to the server"
        raise FormatError(message, "remove it")
    if len(path) > MAX_URL_PATH or not re.fullmatch(r"[!-~]*", path):
        message = f"the path is longer than {MAX_URL_PATH}, or has spaces or letters beyond ASCII"
        raise FormatError(message, "write a shorter path, with %20 for a space")
    tls = scheme.lower() == "https"
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, "443" if tls else "80"
    target = Target(_parse_host(host, text, _URL_EXAMPLE), _parse_port(port, text))
    return Url(tls, target, path if path.startswith("/") else f"/{path}")


def _parse_stats_socket(text: str) -> str:
    """Parse a stats socket: a path, or ``tcp://ADDRESS:PORT``."""
    scheme = "tcp://"
    if not text.startswith(scheme):
        if "://" in text:
            message = f"{quote_value(text)} is neither a path nor tcp://ADDRESS:PORT"
            raise FormatError(message, "write one such as tcp://10.10.0.4:9999")
        return _parse_path(text)
    try:
        return f"{scheme}{_parse_endpoint(text.removeprefix(scheme))}"
    except FormatError as error:
        raise FormatError(error.message, "write one such as tcp://10.10.0.4:9999") from None


FORMATS: Mapping[str, Format] = {
    "address": _parse_address,
    "ipv4": _parse_ipv4,
    "prefix": _parse_prefix,
    "vip": _parse_vip,
    "next_hop": _parse_next_hop,
    "community": _parse_community,
    "endpoint": _parse_endpoint,
    "path": _parse_path,
    "stats_socket": _parse_stats_socket,
    "target": _parse_target,
    "url": _parse_url,
}
"""Format of the schema -> its parser."""
