"""Generate artificial research documents, with text that compresses about as well as real reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

import orjson

TABLE = "company_intel_briefings"
OPERATION = "company.derive.intel_briefing"
_LETTERS = "etaoinshrdlucmfwypvbgkqjxz"
_WEIGHTS = (12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 2, 2, 2, 2, 2, 1, 1, 2, 1, 0.3, 0.3, 0.3, 0.3)
_TOPICS = ("overview", "products", "customers", "competition", "people", "news", "risks", "outlook")


@dataclass(frozen=True)
class Author:
    """Generates documents; the same seed gives the same documents."""

    sentences: list[str]
    length: int  # the average length of a sentence

    @classmethod
    def from_seed(cls, seed: int) -> Author:
        chance = Random(seed)
        words = ["".join(chance.choices(_LETTERS, _WEIGHTS, k=chance.randint(2, 11))) for _ in range(4_000)]
        phrases = list(_join_parts(chance, words, 2, 4, 1_500))
        sentences = [text.capitalize() + "." for text in _join_parts(chance, phrases, 4, 9, 8_000)]
        return cls(sentences, sum(map(len, sentences)) // len(sentences) + 1)

    def write_content(self, number: int, size: int) -> dict[str, Any]:
        """Generate a document of about `size` bytes of JSON: sections of sentences, with citations."""
        chance = Random(number)
        share = max(1, (size // len(_TOPICS) - 130) // self.length)
        return {topic: self._write_section(chance, topic, share) for topic in _TOPICS}

    def _write_section(self, chance: Random, topic: str, sentences: int) -> dict[str, Any]:
        summary = f"{chance.randrange(10**6)} " + " ".join(chance.choices(self.sentences, k=sentences))
        url = f"https://{chance.randrange(16**8):08x}.example/{topic}/{chance.randrange(10**6)}"
        return {"summary": summary, "confidence": chance.random(), "citations": [{"url": url, "rank": 1}]}


def _join_parts(chance: Random, parts: list[str], least: int, most: int, count: int) -> Iterator[str]:
    """Yield `count` texts of `least` to `most` random parts; parts early in the list are more frequent."""
    ranks = list(accumulate(1 / (place + 5) for place in range(len(parts))))
    for _ in range(count):
        yield " ".join(chance.choices(parts, cum_weights=ranks, k=chance.randint(least, most)))


def build_payload(author: Author, number: int, key: int, size: int) -> bytes:
    """Build the `output_payload` of one step result as JSON.

    `key` (company * 4 + client) determines the row's key, `number` is the seed of the text, `size` the approximate
    bytes.
    """
    company, client = divmod(key, 4)
    output = {
        "domain": f"https://www.company-{company}.example/",
        "company_name": f"Company {company}",
        "client_company_name": f"Client {client}",
        "client_company_description": author.sentences[client],
        "parallel_run_id": f"trun_{number:032x}",
        "processor": "ultra",
        "parallel_raw_response": {
            "run": {"run_id": f"trun_{number:032x}", "status": "completed"},
            "output": {"type": "json", "content": author.write_content(number, size)},
        },
    }
    result = {"operation_id": OPERATION, "status": "found", "output": output}
    context = {name: value for name, value in output.items() if name != "parallel_raw_response"}
    return orjson.dumps({"operation_result": result, "cumulative_context": context})
