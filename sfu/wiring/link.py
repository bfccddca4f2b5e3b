"""One-time links to the page, and the page's address for commands that print another one.

Owns both files in the state directory: the address (`page.url`), and the latest link (`once`, for this user alone).
"""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from sfu.access.audit import Audit
from sfu.access.authority import Authority
from sfu.access.rights import EVERYWHERE, OWNER, Claims, Right, Use
from sfu.private_files import write_private
from sfu.rtc.net.addresses import host_addresses
from sfu.settings import Settings, state_directory

ONCE_S: Final = 900.0
LINK_NOTE: Final = "(works once, within 15 minutes; `sfu link` makes another)"
_ALL_ADDRESSES: Final = ("0.0.0.0", "::", "")  # noqa: S104  # looked for, not listened on
_PAGE_FILE: Final = "page.url"
_LINK_FILE: Final = "once"


def one_time_link(authority: Authority, page: str) -> tuple[str, Claims]:
    """Returns a link that opens the page once within 15 minutes, and its claims. `page` ends in a slash."""
    token, claims = authority.mint(OWNER, (EVERYWHERE,), Right, lasts_s=ONCE_S, use=Use.ONCE)
    return f"{page}login#once={token}", claims


def printed_link(settings: Settings, authority: Authority, page: str, audit: Audit | None) -> str:
    """Returns a one-time link, and keeps it and the page's address for commands of this user, if they can be kept."""
    link, claims = one_time_link(authority, page)
    if audit is not None:
        audit("minted", claims, use=Use.ONCE)
    directory = state_directory(settings.state)
    with contextlib.suppress(OSError):  # the link is printed anyway
        write_private(directory / _PAGE_FILE, f"{page}\n")
        write_private(directory / _LINK_FILE, f"{link}\n")
    return link


def link_from_elsewhere(settings: Settings, link: str) -> str | None:
    """Returns the same link for other machines; None if HTTP is at one address, which the link has then."""
    if settings.http.rpartition(":")[0].strip("[]") not in _ALL_ADDRESSES:
        return None
    outside = [host for host in host_addresses() if not ip_address(host).is_loopback]
    if not outside:
        return None
    url = urlsplit(link)
    host = f"[{outside[0]}]" if ":" in outside[0] else outside[0]
    return url._replace(netloc=f"{host}:{url.port}").geturl()


def kept_page(settings: Settings) -> str | None:
    """Returns the page's address of the latest start; None if there was none."""
    try:
        return (state_directory(settings.state) / _PAGE_FILE).read_text("utf-8").strip() or None
    except (OSError, UnicodeError):
        return None
