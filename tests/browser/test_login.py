"""Logging in, as people do it in a real browser: by a link, a password or a token, and what they may see then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from sfu.access.rights import ROLES, Claims, Use
from sfu.access.tokens import mint
from sfu.access.users import Users
from sfu.clients.publish import Camera
from sfu.rtc.net.addresses import host_addresses
from sfu.service import Service
from sfu.signaling.topics import Role
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.cameras import Painted, on_air
from tests.helpers.browser.firefox import firefox
from tests.helpers.browser.pages import decoded, new_context, until_live, until_true
from tests.helpers.browser.sites import behind_nginx, other_site
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until

PASSWORD = "correct horse"
END_S = 5.0
"""Within this time, pictures stop when the rights for them have ended."""
VP8 = {"media__codecs": "vp8"}


@pytest_asyncio.fixture(loop_scope="session")
async def service(access_on: None, mosquitto: Callable[..., Mosquitto]) -> AsyncIterator[Service]:
    """A server as a stranger starts it, with two cameras on a broker that knows them."""
    changes = {"recording__mode": "on_demand", "access__broker": "trusted", "frame_ancestors": "*"}
    async with (
        serving(mosquitto().url, **changes) as service,
        on_air(service, "yard", "north", Camera(Painted())),
        on_air(service, "site/gate", "south", Camera(Painted("blue"))),
    ):
        yield service


def root(service: Service) -> str:
    assert service.http is not None
    return service.http.url


def link(service: Service) -> str:
    """Returns what `sfu link` prints."""
    assert service.authority is not None
    token, _ = service.authority.mint("owner", ["*"], ROLES["admin"], lasts_s=900, use=Use.ONCE)
    return f"{root(service)}login#once={token}"


def users(service: Service) -> Users:
    assert service.authority is not None
    assert isinstance(service.authority.users, Users)
    return service.authority.users


def viewer(service: Service, room: str) -> tuple[str, Claims]:
    assert service.authority is not None
    return service.authority.mint("wall", [room], ROLES["view"], lasts_s=600)


async def fill_in(page: Page, name: str, password: str) -> None:
    await page.get_by_label("User").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in", exact=True).click()


async def at_wall(page: Page, url: str) -> None:
    """Waits until the login has led to this URL, and the wall there has begun."""
    await page.wait_for_url(url)
    await until_true(page, "window.__sfu !== undefined")


async def logged_in(chromium: Browser, service: Service, name: str, *rooms: str, role: str = "view") -> Page:
    """A page of a new user, at the wall."""
    users(service).add(name, PASSWORD, (role,), rooms)
    page = await (await new_context(chromium)).new_page()
    await page.goto(root(service))
    await fill_in(page, name, PASSWORD)
    await at_wall(page, root(service))
    return page


async def test_one_click_on_the_printed_link_shows_pictures_and_a_second_one_is_refused(
    chromium: Browser, service: Service
) -> None:
    address = link(service)
    page = await (await new_context(chromium)).new_page()
    await page.goto(address)
    await at_wall(page, root(service))
    await until_live(page, "yard/north", "site/gate/south")
    await expect(page.get_by_role("button", name="Log out owner")).to_be_visible()
    assert (await page.evaluate("__sfu.sessions()"))[0]["peer"].startswith("owner--")
    assert await page.evaluate("history.length") <= 2, "the link stays in the history"
    other = await (await new_context(chromium)).new_page()
    await other.goto(address)
    await expect(other.get_by_role("alert")).to_contain_text("Links work once. Make another one: sfu link")
    assert "once" not in other.url
    await page.goto(address)
    await expect(page.get_by_role("link", name="Go on as owner")).to_be_visible()


async def test_firefox_logs_in_by_the_link(
    chromium: Browser, access_on: None, mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    address = host_addresses()[0]  # Firefox uses 127.0.0.1 on a machine without another one alone
    changes = {**VP8, "media__bind": address, "media__announce": address}
    async with firefox(tmp_path) as page, serving(mosquitto().url, **changes) as service:
        viewer: Any = page
        camera = await (await new_context(chromium)).new_page()
        await camera.goto(link(service))
        await camera.wait_for_url(root(service))
        await camera.goto(f"{root(service)}?publish=hall&id=desk&video=vp8#nobody/here")
        await until_true(camera, "window.__sfu?.publisher().then((it) => it?.phase === 'connected')")
        await page.goto(link(service))
        async with asyncio.timeout(PATIENCE_S):
            while not await there(page):
                await asyncio.sleep(0.05)
        await until_live(viewer, "hall/desk")


async def there(page: Any) -> bool:
    """True at the wall; a page that goes on to another one cannot answer."""
    try:
        return bool(await page.evaluate("window.__sfu !== undefined"))
    except AssertionError:
        return False


async def test_a_user_sees_the_own_room_and_no_button_that_would_be_refused(
    chromium: Browser, service: Service
) -> None:
    page = await logged_in(chromium, service, "ben", "site/gate")
    await until_live(page, "site/gate/south")
    assert await page.evaluate("__sfu.sessions().map((it) => it.room)") == ["site/gate"]
    await expect(page.get_by_role("banner")).not_to_contain_text("yard")
    for name in ("Go live from this browser", "Recordings"):
        await expect(page.get_by_role("button", name=name)).to_have_count(0)
    assert await page.evaluate("fetch('api/recordings').then((it) => it.status)") == 403
    await page.evaluate("void (location.hash = 'yard')")
    await expect(page.get_by_text("You may not see yard.")).to_be_visible()
    await page.evaluate("void (location.hash = 'site')")
    await until_live(page, "site/gate/south")


async def test_a_user_who_may_play_recordings_has_no_switch_for_them(chromium: Browser, service: Service) -> None:
    page = await logged_in(chromium, service, "pia", "yard", role="playback")
    await until_live(page, "yard/north")
    await expect(page.locator(".bar .to-recordings")).to_be_visible()
    await page.locator(".tile:visible").hover()
    await page.locator(".tile:visible").get_by_role("button", name="Recordings").click()
    await expect(page.get_by_role("menuitem", name="Recordings")).to_be_visible()
    await expect(page.get_by_role("menuitemcheckbox")).to_be_hidden()


async def test_a_camera_of_a_user_has_the_users_name(chromium: Browser, service: Service) -> None:
    page = await logged_in(chromium, service, "jo", "hall", role="join")
    await page.goto(f"{root(service)}?publish=hall&id=desk&video=vp8#nobody/here")
    await until_true(page, "window.__sfu?.publisher().then((it) => it?.phase === 'connected')")
    await expect(page.get_by_text("Live: hall / jo--desk")).to_be_visible()


async def test_a_removed_user_sees_nothing_more_and_reads_why(chromium: Browser, service: Service) -> None:
    page = await logged_in(chromium, service, "kim", "yard")
    await until_live(page, "yard/north")
    users(service).remove("kim")
    await expect(page.get_by_role("alert")).to_contain_text("You were logged out", timeout=END_S * 1000)
    await expect(page.locator("video")).to_have_count(0)


async def test_logging_out_leads_to_the_login_in_all_tabs(chromium: Browser, service: Service) -> None:
    page = await logged_in(chromium, service, "lou", "yard")
    other = await page.context.new_page()
    await other.goto(f"{root(service)}#yard")
    await at_wall(other, f"{root(service)}#yard")
    await until_live(other, "yard/north")
    await page.get_by_role("button", name="Log out lou").click()
    await expect(page.get_by_role("alert")).to_contain_text("You are logged out.")
    await expect(other.get_by_role("alert")).to_contain_text("You were logged out", timeout=END_S * 1000)
    await fill_in(other, "lou", PASSWORD)
    await at_wall(other, f"{root(service)}#yard")
    await until_live(other, "yard/north")


async def test_a_wrong_password_is_said_and_the_right_one_leads_to_the_room(
    chromium: Browser, service: Service
) -> None:
    users(service).add("may", PASSWORD, ("view",), ("*",))
    page = await (await new_context(chromium)).new_page()
    await page.goto(f"{root(service)}#yard")
    await fill_in(page, "may", "wrong horse")
    await expect(page.get_by_role("alert")).to_contain_text("The user or the password is wrong")
    await fill_in(page, "may", PASSWORD)
    await at_wall(page, f"{root(service)}#yard")
    await until_live(page, "yard/north")


async def test_a_token_opens_the_wall(chromium: Browser, service: Service) -> None:
    page = await (await new_context(chromium)).new_page()
    await page.goto(root(service))
    await page.get_by_text("Log in with a token").click()
    for token in ("no.such.token", viewer(service, "yard")[0]):
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Log in with this token").click()
        if token == "no.such.token":
            await expect(page.get_by_role("alert")).to_contain_text("This token is not valid")
    await at_wall(page, root(service))
    await until_live(page, "yard/north")


class Renewed:
    """A page whose browser has a newer cookie than the one that the page began with."""

    def __init__(self, page: Page, service: Service) -> None:
        assert service.authority is not None
        self.page = page
        self._service = service
        self._authority = service.authority
        _, self._old = self._authority.mint("owner", ["*"], ROLES["admin"], lasts_s=3600, use=Use.SESSION)
        self._new = replace(self._old, jti="new", until=self._old.until + 3600)

    async def open(self) -> None:
        await self._keep(self._old)
        await self.page.goto(f"{root(self._service)}#yard")
        await at_wall(self.page, f"{root(self._service)}#yard")
        await until_live(self.page, "yard/north")
        await self._keep(self._new)

    def end_the_old_one(self) -> None:
        self._authority.revoke(self._old)

    def shows_the_new_one(self) -> bool:
        """True once the server has the new rights for each session."""
        viewers = [it for it in self._service.server.participants.values() if it.leaf.role is Role.VIEW]
        return bool(viewers) and all(it.claims is not None and it.claims.jti == "new" for it in viewers)

    async def session(self) -> str:
        return str((await self.page.evaluate("__sfu.sessions()"))[0]["session"])

    async def _keep(self, claims: Claims) -> None:
        value = mint(self._authority.keys.current, claims)
        await self.page.context.add_cookies([{"name": "sfu", "value": value, "url": root(self._service)}])


async def test_a_renewed_login_is_shown_in_the_same_session_and_pictures_go_on(
    chromium: Browser, service: Service
) -> None:
    renewed = Renewed(await (await new_context(chromium)).new_page(), service)
    await renewed.open()
    before = await renewed.session()
    await renewed.page.evaluate("__sfu.renew()")
    await until(renewed.shows_the_new_one)
    renewed.end_the_old_one()
    _, after = await decoded(renewed.page, 40)
    assert len(after) == 1
    assert await renewed.session() == before


async def test_a_login_that_ended_while_there_is_a_newer_one_comes_back_by_itself(
    chromium: Browser, service: Service
) -> None:
    renewed = Renewed(await (await new_context(chromium)).new_page(), service)
    await renewed.open()
    renewed.end_the_old_one()
    await until(renewed.shows_the_new_one)
    await until_live(renewed.page, "yard/north")
    assert "login" not in renewed.page.url


async def test_an_embedded_camera_plays_with_its_token_on_another_site(chromium: Browser, service: Service) -> None:
    token, claims = viewer(service, "yard")
    frame = f"<iframe width=600 height=400 src='{root(service)}embed/yard#token={token}'></iframe>"
    async with other_site(frame) as port:
        page = await (await new_context(chromium)).new_page()
        await page.goto(f"http://localhost:{port}/")
        inner = page.frame_locator("iframe")
        await expect(inner.locator(".tile[data-state=live]")).to_be_visible()
        assert [it.url for it in page.frames[1:]] == [f"{root(service)}embed/yard"], "the token is in the address"
        await page.reload()
        await expect(inner.locator(".tile[data-state=live]")).to_be_visible()
        assert service.authority is not None
        service.authority.revoke(claims)
        await expect(inner.get_by_role("alert")).to_contain_text("The token of this page", timeout=END_S * 1000)
        await expect(inner.locator("video")).to_have_count(0)


async def test_an_embedded_camera_without_a_login_says_what_to_do(chromium: Browser, service: Service) -> None:
    async with other_site(f"<iframe src='{root(service)}embed/yard'></iframe>") as port:
        page = await (await new_context(chromium)).new_page()
        await page.goto(f"http://localhost:{port}/")
        alert = page.frame_locator("iframe").get_by_role("alert")
        await expect(alert).to_contain_text("Log in to see this camera")
        await expect(alert).to_contain_text("browsers do not send your login to pages inside another site")
        await expect(alert.get_by_role("link", name="Log in")).to_have_attribute("target", "_blank")


async def test_below_a_path_of_nginx_a_person_logs_in_and_sees_pictures(
    chromium: Browser, service: Service, tmp_path: Path
) -> None:
    assert service.http is not None
    users(service).add("nia", PASSWORD, ("view",), ("*",))
    async with behind_nginx(service.http.port, "/cams/", tmp_path) as url:
        page = await (await new_context(chromium)).new_page()
        await page.goto(f"{url}#yard")
        await fill_in(page, "nia", PASSWORD)
        await at_wall(page, f"{url}#yard")
        await until_live(page, "yard/north")
        assert [cookie.get("path") for cookie in await page.context.cookies()] == ["/cams"]
