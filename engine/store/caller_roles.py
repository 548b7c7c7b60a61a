"""The roles of callers: of users, of the sessions they sign in with, and of API tokens."""

from __future__ import annotations

from enum import StrEnum


class CallerRole(StrEnum):
    """The role of a token or a session. `org_admin` and `company_admin` may start paid work, `member` may not.

    An adopted database and whoever signs sessions may have further roles: these may not start paid work either.
    """

    ORG_ADMIN = "org_admin"
    COMPANY_ADMIN = "company_admin"
    MEMBER = "member"


#: The roles that may start paid work.
SPENDERS = (CallerRole.ORG_ADMIN, CallerRole.COMPANY_ADMIN)
