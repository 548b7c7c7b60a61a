"""Check the `research` block of a spec: provider, inputs, prompt and output keys.

The checks read raw values and do not depend on each other. `engine/spec/answer_checks.py` checks the schema of the
answer, and the fields against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from engine.errors import suggest_name
from engine.jmespath.path import ParsedPath
from engine.research import prompt_places
from engine.research.providers import OUTPUT_KEYS, PROVIDERS
from engine.spec.diagnostics import Diagnostic
from engine.spec.raw_spec import Data, read_mapping
from engine.spec.referenced_files import ReferencedFile
from engine.spec.research_models import SCHEMA_WORDS, is_file_reference
from engine.spec.yaml_source import Place, Source, locate_character
from engine.values.normalizers import NORMALIZERS

#: A function that parses a path which may start with the given roots.
Parse = Callable[[str, Sequence[str]], ParsedPath]

INPUT_ROOTS = ("context", "step_input")
OUTPUT_ROOTS = ("inputs", "context", "step_input")


def check_research(source: Source, data: Data, parse: Parse) -> None:
    """Report the mistakes in a spec's `research` block."""
    research = data.get("research")
    if not isinstance(research, dict):
        return
    inputs = read_mapping(research.get("inputs"))
    _check_provider(source, research)
    _check_operations(source, data)
    _check_schema_word(source, research)
    for name, settings in inputs.items():
        _check_input(source, name, read_mapping(settings), parse)
    _check_output_keys(source, research, inputs, parse)
    for key, hint in (("prompt", "write what to research"), ("processor", "write one of the provider's, `pro`, say")):
        if isinstance(text := research.get(key), str) and text and not text.strip():
            source.report_value(("research", key), "SPEC209", f"`research.{key}` is blank", hint)
    prompt = find_prompt(source, research)
    if prompt is not None:
        _check_prompt(source, prompt, inputs)


def check_research_owners(sources: Sequence[Source]) -> None:
    """Report every operation for which several specs have `research`."""
    owners: dict[str, Source] = {}
    for source in sources:
        data = source.data or {}
        if not isinstance(data.get("research"), dict):
            continue
        for name in list_operations(data):
            owner = owners.setdefault(name, source)
            if owner is not source:
                message = f"`{owner.file}` says already how `{name}` is executed"
                hint = "keep `research` in one of the two; both get their rows from it"
                source.report_key(("research",), "SPEC603", message, hint)


def list_operations(data: Data) -> list[str]:
    """Return the ids under `operations`, which is a list or a mapping."""
    operations = data.get("operations")
    return [name for name in operations if isinstance(name, str)] if isinstance(operations, (list, dict)) else []


def list_research_paths(data: Data) -> Iterator[tuple[Place, str]]:
    """Yield the paths of inputs and output keys, each with the place where it is written."""
    research = read_mapping(data.get("research"))
    for name, settings in read_mapping(research.get("inputs")).items():
        yield from _list_input_paths(name, read_mapping(settings))
    for name, text in read_mapping(research.get("output")).items():
        if isinstance(text, str):
            yield ("research", "output", name), text


class PromptText:
    """The text of a prompt, in the spec or in a file, with which mistakes at its characters can be reported."""

    def __init__(self, source: Source, text: str, file: str | None) -> None:
        self.source = source
        self.text = text
        self.file = file  # None if the spec itself contains the prompt

    def report_character(self, offset: int, code: str, message: str, hint: str) -> None:
        """Report a mistake at character `offset`, in the prompt's own file if it has one."""
        if self.file is None:
            self.source.report_character(("research", "prompt"), offset, code, message, hint)
        else:
            position = locate_character(self.text, offset)
            self.source.diagnostics.append(Diagnostic(self.file, position.line, position.column, code, message, hint))


def find_prompt(source: Source, research: Data) -> PromptText | None:
    """Return the prompt of a spec; None if there is none, or after reporting that its file cannot be read."""
    text = research.get("prompt")
    if not isinstance(text, str) or not text.strip():
        return None
    if not is_file_reference(text):
        return PromptText(source, text, None)
    file = source.files.get(text.strip())
    if file is None or file.text is None:
        report_missing_file(source, ("research", "prompt"), text.strip(), file)
        return None
    if not file.text.strip():
        source.report_value(("research", "prompt"), "SPEC604", f"`{file.file}` is empty", "write the prompt into it")
        return None
    return PromptText(source, file.text, file.file)


def report_missing_file(source: Source, place: Place, name: str, file: ReferencedFile | None) -> None:
    """Report a file that a spec refers to and that cannot be read; report nothing for other files."""
    problem = file.problem if file else "it was not looked for"
    message = f"cannot read `{file.file if file else name}`: {problem}"
    source.report_value(place, "SPEC604", message, "write its path from the folder of the specs on")


def _check_provider(source: Source, research: Data) -> None:
    provider = research.get("provider")
    if isinstance(provider, str) and provider not in PROVIDERS:
        hint = suggest_name(provider, PROVIDERS)
        source.report_value(("research", "provider"), "SPEC601", f"unknown provider `{provider}`", hint)


def _check_schema_word(source: Source, research: Data) -> None:
    word = research.get("output_schema")
    if isinstance(word, str) and word and word not in SCHEMA_WORDS and not word.endswith(".json"):
        choices = ", ".join(f"`{known}`" for known in SCHEMA_WORDS)
        message = f"`output_schema` is {choices} or the path of a `.json` file, found `{word}`"
        source.report_value(("research", "output_schema"), "SPEC209", message, suggest_name(word, SCHEMA_WORDS))


def _check_operations(source: Source, data: Data) -> None:
    operations = list_operations(data)
    if len(operations) > 1:
        message = f"`research` executes one operation, and this spec names {len(operations)}"
        hint = "leave one; another spec may feed a table of its own from the same operation"
        source.report_key(("research",), "SPEC602", message, hint)


def _check_input(source: Source, name: str, settings: Data, parse: Parse) -> None:
    if name in OUTPUT_KEYS:
        message = f"the output has a key `{name}` of its own"
        source.report_key(("research", "inputs", name), "SPEC608", message, f"call it `{name}_input`, say")
    for place, text in _list_input_paths(name, settings):
        parsed = parse(text, INPUT_ROOTS)
        _report_path_mistakes(source, place, text, parsed)
    _check_normalizers(source, name, settings)


def _list_input_paths(name: str, settings: Data) -> Iterator[tuple[Place, str]]:
    path, place = settings.get("path"), ("research", "inputs", name, "path")
    if isinstance(path, str):
        yield place, path
    elif isinstance(path, list):
        yield from (((*place, index), text) for index, text in enumerate(path) if isinstance(text, str))


def _check_normalizers(source: Source, name: str, settings: Data) -> None:
    chain = settings.get("normalize")
    for index, normalizer in enumerate(chain if isinstance(chain, list) else []):
        place: Place = ("research", "inputs", name, "normalize", index)
        if not isinstance(normalizer, str):
            continue
        if normalizer not in NORMALIZERS:
            hint = suggest_name(normalizer, NORMALIZERS)
            source.report_value(place, "SPEC304", f"unknown normalizer `{normalizer}`", hint)
        elif index == len(chain) - 1 and not NORMALIZERS[normalizer].fits_column("text"):  # type: ignore[arg-type]
            message = f"normalizer `{normalizer}` gives no text"
            source.report_value(place, "SPEC305", message, "add `text` behind it, or take another normalizer")


def _check_output_keys(source: Source, research: Data, inputs: Data, parse: Parse) -> None:
    for name, text in read_mapping(research.get("output")).items():
        place: Place = ("research", "output", name)
        if name in OUTPUT_KEYS or name in inputs:
            owner = "an input" if name in inputs else "the output"
            message = f"`{name}` is a key of the output already: {owner} has it"
            source.report_key(place, "SPEC608", message, "leave it out, or give it another name")
        if not isinstance(text, str):
            continue
        parsed = parse(text, OUTPUT_ROOTS)
        _report_path_mistakes(source, place, text, parsed)
        for steps in sorted(parsed.path.reads if parsed.path else ()):
            if len(steps) > 1 and steps[0] == "inputs" and steps[1] not in inputs:
                offset = max(text.find(steps[1]), 0)
                hint = suggest_name(steps[1], inputs)
                source.report_character(place, offset, "SPEC404", f"there is no input `{steps[1]}`", hint)


def _report_path_mistakes(source: Source, place: Place, text: str, parsed: ParsedPath) -> None:
    source.report_cut_path(place, text)
    for mistake in parsed.mistakes:
        source.report_character(place, mistake.offset, mistake.code, mistake.message, mistake.hint)


def _check_prompt(source: Source, prompt: PromptText, inputs: Data) -> None:
    places = prompt_places.list_places(prompt.text)
    for place in places:
        if place.name not in inputs:
            message = f"no input fills the place `{{{{{place.name}}}}}`"
            prompt.report_character(place.offset, "SPEC605", message, _suggest_input(place.name, inputs))
    for place in prompt_places.find_malformed_places(prompt.text):
        name = place.name.strip()
        message = f"`{{{{{place.name}}}}}` is no place: between the braces stands the name of an input and nothing else"
        hint = f"write `{{{{{name}}}}}`" if name in inputs else _suggest_input(name, inputs)
        prompt.report_character(place.offset, "SPEC607", message, hint)
    _check_unused_inputs(source, prompt, inputs, {place.name for place in places})


def _check_unused_inputs(source: Source, prompt: PromptText, inputs: Data, used: set[str]) -> None:
    malformed = {place.name.strip() for place in prompt_places.find_malformed_places(prompt.text)}
    unused = [name for name in inputs if name not in used and name not in malformed]
    single = prompt_places.find_single_braces(prompt.text, unused)
    for name in unused:
        if name in single:
            message = f"`{{{name}}}` is no place of the prompt"
            prompt.report_character(single[name], "SPEC607", message, f"write `{{{{{name}}}}}`")
        else:
            message = f"the prompt does not use the input `{name}`"
            hint = f"write `{{{{{name}}}}}` where it belongs, or take the input out"
            source.report_key(("research", "inputs", name), "SPEC606", message, hint)


def _suggest_input(name: str, inputs: Data) -> str:
    if not inputs:
        return f"add the input `{name}`"
    hint = suggest_name(name, inputs)
    return hint if hint.startswith("did you mean") else f"add the input `{name}`; {hint}"
