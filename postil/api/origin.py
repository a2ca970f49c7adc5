"""Whether a request comes from a page of ours. A browser says so itself, in headers that no page can write.

`Origin` names the page that sends a form or a script's request. It is `null` where a page hides it, and for pages that
have none: sandboxed frames, `data:` addresses. `Sec-Fetch-Site` tells these apart: of a page that has no origin it is
never `same-origin`. Programs that are no browsers send neither header, and have no cookies that could be misused.
"""

from __future__ import annotations

from collections.abc import Container

from starlette.datastructures import Headers

BY_ITSELF = ("", "none", "same-origin")  # no browser, typed or from a bookmark, from a page of ours


def is_ours(method: str, headers: Headers, origins: Container[str]) -> bool:
    """origins: ours, in small letters. From elsewhere, only a link may be followed to a page."""
    site = ", ".join(headers.getlist("sec-fetch-site")).lower()
    named = [origin.lower() for origin in headers.getlist("origin")]
    if named:
        return site != "cross-site" and all(
            origin in origins or (origin == "null" and site == "same-origin") for origin in named
        )
    return site in BY_ITSELF or (site in ("cross-site", "same-site") and follows_a_link(method, headers))


def follows_a_link(method: str, headers: Headers) -> bool:
    """A whole window goes to an address: nothing is changed by it, and no other page sees what comes."""
    place = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return method in ("GET", "HEAD") and place == ("navigate", "document")
