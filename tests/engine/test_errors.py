"""Every exception of the engine stands in the tree that `engine/errors.py` draws."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import engine
from engine import errors
from engine.errors import EngineError

BRANCH = re.compile(r" {4}(?P<indent>[ │]*)[├└]── (?P<name>\w+) +\S")


def list_exceptions() -> set[type[BaseException]]:
    """Import every module of the engine and return the exceptions that they define."""
    exceptions = set()
    for module in pkgutil.walk_packages(engine.__path__, "engine."):
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(value, BaseException) and value.__module__.startswith("engine."):
                exceptions.add(value)
    return exceptions


def read_drawing() -> Iterator[tuple[str, str]]:
    """Yield name and parent of each exception in the drawing."""
    parents = ["EngineError"]
    for line in (errors.__doc__ or "").splitlines():
        if match := BRANCH.match(line):
            depth = len(match["indent"]) // 4 + 1
            parents[depth:] = [match["name"]]
            yield match["name"], parents[depth - 1]


def test_every_exception_derives_from_engine_error() -> None:
    assert [found for found in list_exceptions() if not issubclass(found, EngineError)] == []


def test_the_drawing_is_the_tree_of_the_code() -> None:
    drawn = dict(read_drawing())
    defined = {
        exception.__name__: next(base.__name__ for base in exception.__bases__ if issubclass(base, EngineError))
        for exception in list_exceptions() - {EngineError}
    }
    assert drawn == defined
