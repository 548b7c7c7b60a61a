"""Draft a new project outside of a checkout: one operation, and the files that a project needs around it.

The operation is drafted as by `dex new`; the other files are the texts in this module.
"""

from __future__ import annotations

from typing import Final

from engine.draft.operation import draft_from_columns

OPERATION: Final = "company.derive.competitors"
COLUMNS: Final = "name:text,website:text,overlap:text"
#: The name of the spec that the operation and columns above give.
SPEC: Final = "company_competitors"

_PYPROJECT: Final = """\
# `dex` takes the nearest folder with this file and specs/ for its project.
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
"""

_GITIGNORE: Final = """\
# variables of one machine, secrets among them
*.env
# back-ups
*.dump
# the embedded database, development secrets, logins
/.data/
"""

_ENVIRONMENT: Final = """\
# Copy it to `.env`, which `dex` reads; a variable of the environment wins.

# Without it an embedded Postgres starts below .data/.
#DATABASE_URL=postgresql://dex_api:PASSWORD@HOST:5432/DATABASE

# The API. Secrets have 32 characters or more: python3 -c "import secrets; print(secrets.token_urlsafe(32))"
#INTERNAL_API_KEY=
#JWT_SECRET=
#DEX_HOST=0.0.0.0
#PORT=8000
# Health, readiness and metrics on an address of their own:
#DEX_OPERATOR_ADDRESS=127.0.0.1:9000

# The runner, which buys the research:
#DATA_ENGINE_API_URL=http://127.0.0.1:8000
#DATA_ENGINE_INTERNAL_API_KEY=
#PARALLEL_API_KEY=
"""

_README: Final = """\
# {name}

Research of our own, as rows: each file in `specs/` is one operation, from the question to the table. The first is
`specs/{spec}.yaml`; make its prompt and columns your own, or begin another with `dex new`.

```
dex check                                   # every mistake, and what the samples in tests/cases/ give
dex test                                    # the samples give what is written beside them
dex migrate                                 # the engine's tables, then those of migrations/
dex serve --dev                             # the API and the console, on an embedded Postgres
dex extract {spec} FILE --explain           # what an answer gives, before anything is stored
```

After a change of a spec: `dex accept` writes the expected files of its samples anew, `dex draft-migration SPEC` the
next migration. The numbers of `migrations/` begin at 1000; those below come with the installed `dex`.

Buying the research takes the runner, which is TypeScript and no part of the Python package: a checkout of data-engine-x
(or the worker's image) with `specs/` of this project in it.
"""


def draft_project(name: str) -> dict[str, str]:
    """Return the text of each file of a new project by its path; the migration for its table is not among them."""
    return {
        "pyproject.toml": _PYPROJECT.format(name=name),
        ".gitignore": _GITIGNORE,
        ".env.example": _ENVIRONMENT,
        "README.md": _README.format(name=name, spec=SPEC),
        **draft_from_columns(OPERATION, COLUMNS),
    }
