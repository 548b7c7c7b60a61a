"""Normalize domains, URLs, LinkedIn profiles, e-mail addresses and phone numbers to one canonical form.

Every function takes a string that is not blank and returns its own output unchanged. No network is used.
"""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

import idna

from engine.errors import EngineError

if TYPE_CHECKING:
    import tldextract


class AddressError(EngineError, ValueError):
    """A string that is not an address of the wanted kind. The message says what is wrong with it."""


def normalize_domain(text: str) -> str:
    """Return the host of a domain, URL or e-mail address: lower case, without scheme, user, port, path and `www.`.

    Letters beyond ASCII become punycode, the form that DNS and other systems use. `www.` is removed repeatedly, as long
    as a name with a dot remains: `www.com` is a domain of its own.

    Raises AddressError when there is no host name in `text`.
    """
    plain = _PLAIN_URL.fullmatch(text)  # true of nearly every domain; the general way takes five times as long
    if plain and len(plain[1]) <= _MAX_HOST_LENGTH:
        return plain[1]
    parts = _split_url(text)
    host = _normalize_host(parts.authority)
    if not parts.marked and parts.rest.strip("/") and not set(".:@") & {*host, *parts.authority}:
        raise AddressError("a single word before a slash is no host")  # otherwise `n/a` would become the domain `n`
    while host.startswith("www.") and "." in host[4:]:
        host = host[4:]
    return host


def normalize_registrable_domain(text: str) -> str:
    """Return the part of the host that its owner registered: `shop.acme.co.uk` -> `acme.co.uk`.

    It follows the public suffix list bundled with tldextract, including the private part of the list, so that
    `acme.myshopify.com` stays as it is. A host without such a part (an IP address, a single word, `co.uk`) is
    returned unchanged.
    """
    host = normalize_domain(text)
    return _load_suffix_list().extract_str(host).top_domain_under_public_suffix or host


def normalize_linkedin_url(text: str) -> str:
    """Return a LinkedIn URL in lower case without trailing slashes; its scheme is kept.

    On LinkedIn's hosts the query, the fragment and the locale after a profile (`/in/name/de`) are removed, and locale
    and mobile hosts become `www.linkedin.com`. URLs of other hosts are only put in lower case.
    """
    url = _strip_end(text.lower())
    found = _LINKEDIN.fullmatch(url)
    if not found:
        return url
    scheme, host, path = found.groups(default="")
    host = "www.linkedin.com" if _LINKEDIN_VARIANT.fullmatch(host) else host
    path = _strip_end(re.split(r"[?#]", path)[0])
    return scheme + host + _LINKEDIN_LOCALE.sub(r"\1", path)


def normalize_url(text: str) -> str:
    """Return a URL with scheme and host in lower case, the host normalized as a domain but with its `www.`.

    A default port and a bare `/` are removed; path, query and fragment stay, with characters beyond ASCII
    percent-encoded. A URL without scheme gets `https://`. Raises AddressError for white space, and where no host is.
    """
    parts = _split_url(text)
    user, at, place = parts.authority.rpartition("@")
    if re.search(r"\s", text.strip()):
        raise AddressError("a URL holds no white space")
    if not parts.marked and (at or "." not in place):
        raise AddressError("a URL begins with its scheme, or else with the name of a host and nothing before it")
    scheme, host, port = parts.scheme or "https", _normalize_host(place), _parse_port(place)
    host = f"[{host}]" if ":" in host else host
    port = "" if port in ("", _DEFAULT_PORTS.get(scheme)) else f":{port}"
    rest = "" if parts.rest == "/" else parts.rest
    return f"{scheme}://{_percent_encode(user)}{at}{host}{port}{_percent_encode(rest)}"


def normalize_email(text: str) -> str:
    """Return an e-mail address with its domain in lower case and punycode, without looking the domain up.

    The part before the `@` keeps its case, since its server may distinguish case; the normalizer `lower` removes it.
    Raises AddressError for an invalid address.
    """
    import email_validator  # takes 30 ms to import, which every command would wait for

    try:
        address = email_validator.validate_email(text.strip(), check_deliverability=False)
    except email_validator.EmailNotValidError as error:
        sentence = str(error).rstrip(".")
        raise AddressError(sentence[:1].lower() + sentence[1:]) from error
    return f"{address.local_part}@{address.ascii_domain}"


def normalize_phone(text: str) -> str:
    """Return a phone number in E.164 form (`+14155552671`); an extension is dropped.

    Raises AddressError unless it says its country, with a leading `+` or `00`, and can be read in only one way.
    """
    number = text.strip()
    number = "+" + number[2:] if number.startswith("00") else number
    if not number.startswith(("+", "＋")):
        raise AddressError("the number does not say its country; it must begin with `+` or `00`")
    written = _format_e164(number)
    if _format_e164(written) != written:
        raise AddressError("the number can be read in two ways")
    return written


class _UrlParts(NamedTuple):
    marked: bool  # whether a scheme or `//` shows that a host follows
    scheme: str  # lower case; "" where there is none
    authority: str  # user, host and port as written
    rest: str  # path, query and fragment


_SCHEME = re.compile(r"(https?):[/\\]*|([a-z][a-z0-9+.-]*):[/\\]{2}|[/\\]{2}", re.IGNORECASE | re.ASCII)
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_PLAIN_URL = re.compile(r"(?:https?://)?(?:www\.)?(?!www\.)([a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+)/?")
_MAX_HOST_LENGTH = 253
_DEFAULT_PORTS = {"http": "80", "https": "443", "ftp": "21", "ws": "80", "wss": "443"}
_LINKEDIN = re.compile(r"((?:https?:)?//)?((?:[a-z0-9-]+\.)*linkedin\.com)([/?#].*)?", re.DOTALL)
_LINKEDIN_VARIANT = re.compile(r"(?:[a-z]{2}(?:-[a-z]{2})?|m|mobile|touch)\.linkedin\.com")
_LINKEDIN_LOCALE = re.compile(r"^(/in/[^/]+)/[a-z]{2}(?:[-_][a-z]{2})?$")


def _split_url(text: str) -> _UrlParts:
    """Split a URL as browsers do: backslashes are slashes, and if the scheme is written twice, the last one counts."""
    rest, scheme = text.strip(), ""
    while found := _SCHEME.match(rest):
        scheme = (found[1] or found[2] or "").lower() or scheme
        rest = rest[found.end() :]
    end = re.search(r"[/\\?#]", rest)
    cut = end.start() if end else len(rest)
    return _UrlParts(rest != text.strip(), scheme, rest[:cut], rest[cut:])


def _normalize_host(authority: str) -> str:
    """Return the host of an authority as DNS writes it, or an IP address in its shortest form."""
    name = unquote(authority.rpartition("@")[2])
    bracketed = re.fullmatch(r"\[(.*)\](:[0-9]*)?", name)
    if bracketed or name.count(":") > 1:
        return _normalize_ipv6(bracketed[1] if bracketed else name)
    name = _convert_to_ascii(re.sub(r":[0-9]*$", "", name)).strip(".")
    if not name:
        raise AddressError("there is no host in it")
    if not _HOST_NAME.fullmatch(name) or len(name) > _MAX_HOST_LENGTH:
        raise AddressError("it is not the name of a host")
    return name


def _parse_port(authority: str) -> str:
    found = re.search(r":0*([0-9]*)$", authority)
    port = found[1] if found and (authority.startswith("[") or authority.count(":") == 1) else ""
    if len(port) > 5 or int(port or 0) > 65535:
        raise AddressError(f"there is no port {port[:10]}")
    return port


def _normalize_ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise AddressError("it is not the name of a host") from error
    if address.scope_id:
        raise AddressError("it is an address of one network only")
    return address.compressed


def _convert_to_ascii(name: str) -> str:
    """Convert a host name to lower case and ASCII as browsers do: UTS 46, non-transitional."""
    if name.isascii():
        return name.lower()
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressError("it holds characters that no host name has") from error
    labels = (label if label.isascii() else "xn--" + label.encode("punycode").decode() for label in mapped.split("."))
    return ".".join(labels)


def _percent_encode(part: str) -> str:
    try:
        return quote(part, safe="%:/?#[]@!$&'()*+,;=~-._|^`{}\"<>\\")
    except UnicodeEncodeError as error:
        raise AddressError("it holds a lone surrogate, which is no character") from error


def _strip_end(url: str) -> str:
    return re.sub(r"[\s/]+$", "", url).strip()


def _format_e164(number: str) -> str:
    """Return a phone number in E.164 form. Raises AddressError unless its length is possible in its country."""
    import phonenumbers  # imported here because it takes a third of a second, and few specs have phone numbers

    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException as error:
        raise AddressError("it is not a phone number") from error
    if not phonenumbers.is_possible_number(parsed):
        raise AddressError("no number of that country is that long or that short")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@cache
def _load_suffix_list() -> tldextract.TLDExtract:
    # Imported here because it loads an HTTP client for a third of a second. Without URLs and cache it never uses it.
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)
