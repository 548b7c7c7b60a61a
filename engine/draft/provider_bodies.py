"""Known forms of providers' responses: at which paths they have the answer, its status and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from engine.draft.places import Place, open_text
from engine.values.exact_json import Json

#: A function that returns the sample's value at a path that begins with `output`.
Search = Callable[[str], Json]

#: Paths in a response at which providers have their answer as text.
_ANSWER_PATHS: Final = (
    "output[?type == 'message'].content[] | [?type == 'output_text'].text | [0]",
    "choices[0].message.content",
    "candidates[0].content.parts[?text].text | [0]",
    "content[?type == 'text'].text | [-1]",
    "outputs[?type == 'text'].text | [-1]",
    "steps[?type == 'model_output'].content[] | [?type == 'text'].text | [0]",
)
#: Paths in a response of its status, each with the values that mean "finished".
_STATES: Final = (
    ("status", ("completed", "complete", "succeeded", "success", "finished", "done")),
    ("state", ("completed", "complete", "succeeded", "success", "finished", "done")),
    ("choices[0].finish_reason", ("stop",)),
    ("candidates[0].finishReason", ("STOP",)),
    ("stop_reason", ("end_turn",)),
)
#: Values of the status that mean "not finished" or "failed".
_UNFINISHED: Final = (
    *("pending", "queued", "in_progress", "running", "processing"),
    *("failed", "error", "cancelled", "canceled", "incomplete"),
)
#: The evidence of an answer: names of columns, each with the path in a response.
_EVIDENCE_PATHS: Final = (
    ("basis", "output.basis"),
    ("basis", "basis"),
    ("citations", "citations"),
    ("citations", "output[?type == 'message'].content[] | [].annotations[]"),
    ("citations", "output.grounding"),
    ("search_results", "search_results"),
    ("grounding", "candidates[0].groundingMetadata"),
)


#: Values of `object` in responses of known providers.
_OBJECTS: Final = ("response", "chat.completion", "interaction")


def is_body(root: str, search: Search) -> bool:
    """Return whether the value at the path `root` looks like a provider's response.

    It does if it has `output.content`, a known `object`, or an answer at one of the known paths.
    """
    content = search(f"{root}.output.content")
    is_known = isinstance(content, str | dict | list) or search(f"{root}.object") in _OBJECTS
    return is_known or find_answer(root, search) is not None


def find_answer(root: str, search: Search) -> Place | None:
    """Return the place of the answer's text in the response at the path `root`; None if it has no known form."""
    for path in _ANSWER_PATHS:
        place = Place(f"{root}.{path}", search(f"{root}.{path}"))
        if isinstance(place.value, str) and place.value.strip():
            return place
    return None


def find_content(root: str, search: Search) -> Place | None:
    """Return the place of a structured answer's content, parsed if it is JSON in a text; None if there is none."""
    if not isinstance(search(f"{root}.output"), dict):
        return None
    place = Place(f"{root}.output.content", search(f"{root}.output.content"))
    if isinstance(place.value, dict | list) and place.value:
        return place
    return open_text(place)


def find_evidence(root: str, search: Search) -> Iterator[tuple[str, Place]]:
    """Yield each list or object of sources in the response at the path `root`, with the name of its column.

    Of several paths for one name, the first that has a value is taken.
    """
    names = set()
    for name, path in _EVIDENCE_PATHS:
        place = Place(f"{root}.{path}", search(f"{root}.{path}"))
        if isinstance(place.value, dict | list) and place.value and name not in names:
            names.add(name)
            yield name, place


def build_guard(root: str, search: Search) -> tuple[str | None, str]:
    """Return a guard (the path `when`) that accepts only finished responses, and a doubt for who reviews the draft.

    The guard is None if the response has no known status, or if it is unfinished. In the latter case the doubt says
    so, otherwise it is "".
    """
    for path, finished in _STATES:
        state = search(f"{root}.{path}")
        if isinstance(state, str) and state.lower() in (*finished, *(word.lower() for word in finished)):
            return f"{root}.{path} == '{state}'", ""
        if isinstance(state, str) and state.lower() in _UNFINISHED:
            return None, f"the sample's {path} is `{state}`: draft from a completed one, and add a guard `when`"
    return None, ""
