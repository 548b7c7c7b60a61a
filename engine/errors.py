"""The base of the engine's exceptions, and the hint that suggests the nearest known name.

Every exception of the engine stands in this tree, the class in the module that raises it:

    EngineError
    ├── ProjectNotFound             the working folder is in no project
    ├── UnknownSpec                 the project has no spec of that name
    ├── SpecErrors                  the specs do not pass the checks
    ├── NotDrafted                  no spec can be drafted from a sample
    ├── PathError                   a mistake in the text of a JMESPath
    ├── EvaluationError             a JMESPath cannot be evaluated over a document
    ├── ExactError                  text is not JSON, or `jsonb` cannot hold a value (a ValueError too)
    ├── AddressError                no domain, URL, e-mail address or phone number (a ValueError too)
    ├── NormalizeError              a normalizer refuses a value
    ├── CastError                   a column type cannot hold a value
    ├── Rejected                    values of a row cannot be stored
    ├── Refused                     values given by name cannot be stored
    ├── QueryRejected               a query is invalid
    ├── CursorRejected              a cursor was made for another query
    ├── SourceRefused               a row names a step result, run or submission that is not its own
    ├── InvalidDatabaseUrl          the URL of the database cannot be read
    ├── InvalidShard                the text is not a shard such as `0/4`
    ├── SpecOutdated                a newer version of the spec was registered
    ├── BackfillAtWork              another backfill of the spec is running
    ├── RowMissing                  the organisation has no row of that id
    ├── InvalidName                 the name of an organisation or a token is no line of text, or too long
    ├── UnknownToken                there is no API token with that id
    ├── UnknownOwner                the company or user that a token is for does not exist
    ├── OrganisationExists          another organisation has that slug
    ├── StoreError                  a statement failed at the database
    │   ├── StoreUnavailable        the database cannot be reached
    │   ├── StoreRefused            the database refuses a statement
    │   │   └── RowDiscarded        the insert of a row succeeded, but a trigger or rule dropped the row
    │   └── UnknownOrganisation     the organisation does not exist
    ├── MigrationError              a migration cannot be read or applied
    │   └── NoSuchBaseline          no migration has the number given as the baseline
    ├── RebuildRefused              a table cannot be rebuilt
    ├── RolesRefused                a login role cannot be created, or has the wrong rights
    ├── NothingToDraft              the table already has all that its spec needs
    ├── ParquetMissing              the library that writes Parquet is not installed
    ├── ArrowMissing                a library for step results in files is not installed
    ├── PayloadMissing              a table of step results has no column `output_payload`
    ├── RunError                    base of the errors of runs and submissions
    │   ├── RecordNotFound          there is no such run, step result or submission
    │   ├── ForeignRecord           the record belongs to another organisation
    │   ├── ForeignCompany          the company belongs to another organisation
    │   ├── LostLease               another runner holds the run, or it was canceled
    │   ├── IdempotencyConflict     the key was sent before with another request
    │   ├── TooManyQueuedSteps      the organisation has too many queued steps
    │   ├── UnknownOperation        no spec says how the operation is executed
    │   └── InvalidStepConfig       a key or value of a step's configuration is wrong
    ├── PriceError                  a file of prices cannot be read
    ├── OrderError                  base of the errors of orders
    │   ├── OrderConflict           the order is not in the state that the requested change needs
    │   ├── ProviderRunIdTaken      the order has the id of another run at the provider
    │   └── BudgetExceeded          the order exceeds a budget
    ├── UnknownSubject              a text names no person or company to erase
    ├── NotWritten                  a generated file cannot be written
    └── EmbeddedError               the embedded server cannot be started or reached
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EngineError(Exception):
    """Base of every exception that the engine raises on purpose. `hint` tells the reader what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the known name closest to `name`, or all known names when none is close."""
    names = sorted(known)
    if not names:
        return "there are none: add it, or leave it out"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known: " + ", ".join(f"`{known_name}`" for known_name in names)
