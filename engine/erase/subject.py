"""The person or company to erase: its names, profiles and domains, how they are compared and searched in texts.

Documents name whom they are about under keys such as `person_full_name`, `linkedin_url` or `company_domain`. Other
words in a key (`client_company_domain`, `founder_name`) mean somebody else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Final
from urllib.parse import unquote

from engine.errors import EngineError
from engine.values.addresses import AddressError, normalize_domain, normalize_linkedin_url


class SubjectKind(StrEnum):
    """Whether a person or a company is to be erased."""

    PERSON = "person"
    COMPANY = "company"


class UnknownSubject(EngineError):
    """The given text names no person or company."""


class KeyRole(StrEnum):
    """What the value of a key is to the person or company that a document is about: its name, profile or domain."""

    NAME = "name"
    URL = "url"
    DOMAIN = "domain"


_WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_PERSON_WORDS: Final = frozenset(
    ("person", "full", "name", "linkedin", "url", "profile", "contact", "target", "subject")
)
_COMPANY_WORDS: Final = frozenset(("company", "domain", "website", "url", "target", "canonical", "root", "primary"))
#: Words in keys about another company than the researched one, or about a person.
_OTHER_WORDS: Final = frozenset(("person", "client", "customer", "current", "competitor", "contact", "investor"))


@cache
def split_words(key: str) -> tuple[str, ...]:
    """Return the words of a key in lower case: `personFullName` and `person_full_name` both give three words."""
    return tuple(word.lower() for word in _WORD.findall(key))


def find_role(kind: SubjectKind, key: str) -> KeyRole | None:
    """Return what the value of `key` is to the person or company that a document is about; None if nothing."""
    words = frozenset(split_words(key))
    if kind is SubjectKind.COMPANY:
        names_domain = words & {"domain", "website"} and words <= _COMPANY_WORDS
        return KeyRole.DOMAIN if names_domain else None
    if not words or not words <= _PERSON_WORDS:
        return None
    if words & {"url", "linkedin", "profile"}:
        return KeyRole.URL if words & {"linkedin", "person", "profile"} else None
    return KeyRole.NAME if words & {"person", "full", "contact"} else None


def is_own_key(kind: SubjectKind, key: str) -> bool:
    """Return whether an input of research, by its key, tells only about the person or company to erase."""
    words = frozenset(split_words(key))
    return "person" in words if kind is SubjectKind.PERSON else not words & _OTHER_WORDS


def compare_name(text: str) -> str:
    """Return a name in the form in which names are compared: one Unicode form, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def compare_url(text: str) -> str:
    """Return a URL in the form in which URLs are compared: normalized and decoded, without scheme and `www.`."""
    url = normalize_linkedin_url(text)
    url = unicodedata.normalize("NFC", unquote(url)).casefold()
    return re.sub(r"^(?:[a-z]+:)?//", "", url).removeprefix("www.").rstrip("/ ")


def compare_domain(text: str) -> str:
    """Return the domain of a domain, URL or e-mail address, for comparison; "" if there is none."""
    try:
        return normalize_domain(text)
    except AddressError:
        return ""


_COMPARE: Final[Mapping[KeyRole, Callable[[str], str]]] = {
    KeyRole.NAME: compare_name,
    KeyRole.URL: compare_url,
    KeyRole.DOMAIN: compare_domain,
}


@dataclass(frozen=True, slots=True)
class Identities:
    """The names, profiles and domains found in documents, in the form in which they are compared."""

    names: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    def __or__(self, other: Identities) -> Identities:
        return Identities(self.names | other.names, self.urls | other.urls, self.domains | other.domains)

    def __bool__(self) -> bool:
        return bool(self.names or self.urls or self.domains)

    def __sub__(self, other: Identities) -> Identities:
        return Identities(self.names - other.names, self.urls - other.urls, self.domains - other.domains)

    @property
    def search_texts(self) -> tuple[str, ...]:
        """All names, profiles and domains, as texts to search for."""
        return tuple(sorted(self.names | self.urls | self.domains))


def collect_identities(pairs: Iterable[tuple[KeyRole, Any]]) -> Identities:
    """Return the identities in pairs of a key's role and its value."""
    values: dict[KeyRole, set[str]] = {role: set() for role in KeyRole}
    for role, value in pairs:
        if isinstance(value, str) and value.strip() and (compared := _COMPARE[role](value)):
            values[role].add(compared)
    return Identities(*(frozenset(values[role]) for role in (KeyRole.NAME, KeyRole.URL, KeyRole.DOMAIN)))


@dataclass(slots=True)
class Subject:
    """The person or company to erase. For a person, the search adds names and profiles to the given ones."""

    kind: SubjectKind
    given: Identities
    known: Identities = field(init=False)

    def __post_init__(self) -> None:
        self.known = self.given

    def is_subject(self, identities: Identities) -> bool:
        """Return whether a document with these identities is about the person or company to erase.

        An equal profile or domain decides. An equal name counts if that name was given, or if the document has no
        profile.
        """
        if (
            identities.urls & self.known.urls
            or identities.domains & self.known.domains
            or identities.names & self.given.names
        ):
            return True
        return not identities.urls and bool(identities.names & self.known.names)

    def learn_identities(self, identities: Identities) -> None:
        """Add the names and profiles of a document that is about the person."""
        if self.kind is SubjectKind.PERSON:
            self.known = self.known | identities


def read_person(text: str) -> Subject:
    """Return the person named by a full name or a profile URL.

    Raises UnknownSubject for a blank text, and for the URL of a site instead of a profile.
    """
    if not text.strip():
        raise UnknownSubject("the person is blank", hint="write a name, or the URL of a LinkedIn profile")
    if re.search(r"://|^www\.|\.com/|/in/", text.strip(), re.IGNORECASE):
        url = compare_url(text)
        if "/" not in url:
            raise UnknownSubject(
                f"`{text[:100]}` is the address of a site, not of a person",
                hint="write the URL of a profile, such as https://www.linkedin.com/in/somebody, or `--company`",
            )
        return Subject(SubjectKind.PERSON, Identities(urls=frozenset((url,))))
    return Subject(SubjectKind.PERSON, Identities(names=frozenset((compare_name(text),))))


def read_company(text: str) -> Subject:
    """Return the company named by a domain, or by a URL or e-mail address with that domain.

    Raises UnknownSubject for a text without a domain.
    """
    domain = compare_domain(text) if text.strip() else ""
    if "." not in domain:
        raise UnknownSubject(f"`{text[:100]}` is no domain", hint="write the company's domain, such as acme.com")
    return Subject(SubjectKind.COMPANY, Identities(domains=frozenset((domain,))))


def build_text_pattern(identities: Identities) -> re.Pattern[str]:
    """Return a pattern that finds any of the identities in a text."""
    parts = [rf"(?<!\w){_join_words(name)}(?!\w)" for name in identities.names]
    parts += [rf"{re.escape(url)}(?![\w%-])" for url in identities.urls]
    parts += [rf"(?<![\w-]){re.escape(domain)}(?![\w-]|\.\w)" for domain in identities.domains]
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)


def _join_words(name: str) -> str:
    return r"\s+".join(re.escape(word) for word in name.split())


def mentions_text(pattern: re.Pattern[str], text: str) -> bool:
    """Return whether `pattern` matches a text, whatever the Unicode form of its letters."""
    return bool(pattern.search(text) or pattern.search(unquote(unicodedata.normalize("NFKC", text).casefold())))
