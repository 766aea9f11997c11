"""The chat page in a real browser, before a real shim and a real server: what a person sees and clicks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton_openai.middleware.keys import ApiKey, digest_of, new_secret
from tests.live.conftest import Serve
from tests.support.live.chromium import chromium
from tests.support.live.servers import LiveServer
from tests.support.live.shims import LiveShim, shimming

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

THINKING = "用户在打招呼。"
CONTENT = "你好 👋 <b>bold</b> <img src=x onerror=\"document.title='broken'\">\n"
CODE = "print(1)"
SCRIPT = (
    f"<think>\n{THINKING}\n</think>\n\n{CONTENT}```python\n{CODE}\n```\n"
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call>'
)
TOOLS = '[{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]'
WAIT_S = 60.0


@pytest.fixture(scope="module")
def server(serve: Serve, qwen3: Tokenizer, qwen3_folder: Path) -> LiveServer:
    """Every answer is SCRIPT, a token each 10 ms."""
    engine = {"kind": "replay", "mode": "scripts", "step_ms": 10.0, "max_context": 40_960}
    scripts = {"scripts": [list(qwen3.encode(SCRIPT))]}
    return serve({"model": str(qwen3_folder), "engine": engine | scripts})


@pytest.fixture(scope="module")
def secret() -> str:
    return new_secret()


@pytest.fixture(scope="module")
def shim(server: LiveServer, secret: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    """A shim that asks for a key."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "keys").write_text(ApiKey("browser", digest_of(secret)).line)
    with shimming(server, folder, {"api_keys_file": "keys"}) as running:
        yield running


class Page:
    """The page as a person uses it."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)

    def find(self, place: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, place)

    def texts(self, place: str) -> list[str]:
        found: list[str] = self.script(f"return [...document.querySelectorAll('{place}')].map((e) => e.textContent)")
        return found

    def script(self, script: str) -> Any:
        return self.browser.execute_script(script)  # type: ignore[no-untyped-call]

    def until(self, holds: Callable[[], Any], what: str) -> None:
        ends = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < ends, f"{what}: {self.find('body').text}"
            time.sleep(0.05)

    def enter_key(self, secret: str) -> None:
        self.until(lambda: self.find("#settings").is_displayed(), "the settings open where a key is missing")
        self.find("#key").send_keys(secret, Keys.TAB)
        self.until(lambda: self.texts("#model option"), "the models are listed")

    def ask(self, question: str) -> None:
        self.find("#question").send_keys(question, Keys.ENTER)

    def set(self, place: str, value: str) -> None:
        self.find(place).clear()
        self.find(place).send_keys(value)


def test_a_person_chats(server: LiveServer, shim: LiveShim, secret: str) -> None:
    """Key, question, folded thinking, text that is never markup, a tool's call and its result, stop, a new chat."""
    with chromium() as browser:
        page = Page(browser, shim.url)
        page.until(lambda: any("API key" in t for t in page.texts(".bad")), "the missing key is told")
        page.enter_key(secret)
        assert page.texts("#model option") == ["qwen-live"]
        page.set("#tools", TOOLS)
        page.ask("hi")
        page.until(lambda: page.texts(".end"), "the answer ends")
        assert page.texts(".user") == ["hi"]
        assert page.texts(".thinking .text") == [THINKING]
        assert not page.find(".thinking .text").is_displayed()
        page.find(".thinking summary").click()
        assert page.find(".thinking .text").is_displayed()
        assert page.texts(".content") == [f"{CONTENT}{CODE}\n"]
        assert (page.texts(".content pre"), page.texts(".content b, .content img")) == ([f"{CODE}\n"], [])
        assert page.texts(".call summary") == ["→ get_weather"]
        assert page.texts(".call .text") == ['{"city": "北京"}']
        assert page.texts(".end")[0].startswith("tool_calls · ")
        page.find("input.result").send_keys("sunny", Keys.ENTER)
        page.until(lambda: len(page.texts(".end")) == 2, "the result is answered")
        _stops(page, server)
        page.find("#clear").click()
        assert page.texts(".user") == []
        assert browser.title == "qwen-triton"
        _stays_at_home(page, shim.url)


def _stops(page: Page, server: LiveServer) -> None:
    """The stop button ends the answer in the engine, what came stays."""
    page.set("#tools", "")
    page.ask("more")
    page.until(lambda: page.find("#stop").is_displayed(), "it can be stopped")
    page.until(lambda: len(page.texts(".thinking")) == 3, "the answer begins")
    page.find("#stop").click()
    page.until(lambda: len(page.texts(".end")) == 3, "it is stopped")
    assert page.texts(".end")[2] == "stopped"
    page.until(lambda: server.engine_counters()["running"] == 0, "the engine still generates")
    assert page.find("#send").is_displayed()


def _stays_at_home(page: Page, url: str) -> None:
    """Nothing was fetched from elsewhere, and the console has no complaint but that a key was missing at first."""
    fetched: list[str] = page.script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert fetched
    assert all(name.startswith((url, "data:")) for name in fetched), fetched
    complaints = [e["message"] for e in page.browser.get_log("browser") if e["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    assert all("401" in message for message in complaints), complaints


def _model_is_chosen(page: Page) -> None:
    """The selector has room for the model's name and for the arrow beside it, and none of it is outside the window."""
    page.until(lambda: page.texts("#model option"), "the models are listed")
    measure = """
      const select = document.querySelector('#model'), place = select.getBoundingClientRect();
      const style = getComputedStyle(select), pen = document.createElement('canvas').getContext('2d');
      pen.font = style.font;
      const inside = select.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      return [inside, pen.measureText(select.value).width, place.left, innerWidth - place.right];"""
    inside, name, left, right = page.script(measure)
    assert name > 20
    assert inside >= name + 16
    assert left >= 0
    assert right >= 0
    Select(page.find("#model")).select_by_visible_text("qwen-live")
    assert page.find("#model").get_property("value") == "qwen-live"


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize("language", ["Send", "发送"], ids=["English", "Chinese"])
def test_the_model_can_be_chosen_on_a_phone(
    shim: LiveShim, secret: str, width: int, language: str, tmp_path: Path
) -> None:
    with chromium(width, 800) as browser:
        page = Page(browser, shim.url)
        page.enter_key(secret)
        if page.find("#send").text != language:
            page.find("#language").click()
        assert browser.save_screenshot(str(tmp_path / f"phone-{width}.png"))
        _model_is_chosen(page)
        assert page.script("return document.documentElement.scrollWidth <= innerWidth")


POST = """
const [url, done] = arguments;
const body = JSON.stringify({model: "qwen-live", messages: [{role: "user", content: "hi"}], max_tokens: 1});
const options = {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body};
fetch(url + "/v1/chat/completions", options).then((r) => done([r.type, r.status]), (e) => done(["failed", `${e}`]));
"""
"""A POST that a browser sends to any site without asking it first."""


def test_another_site_s_page_gets_no_work_done(server: LiveServer, shim: LiveShim, tmp_path: Path) -> None:
    """A shim that asks for no key, and two pages: its own, whose POST is answered, and another port's, whose is refused."""
    with shimming(server, tmp_path) as keyless, chromium() as browser:
        browser.get(keyless.url)
        assert browser.execute_async_script(POST, keyless.url) == ["basic", 200]  # type: ignore[no-untyped-call]
        browser.get(f"{shim.url}/openapi.json")
        assert browser.execute_async_script(POST, keyless.url) == ["opaque", 0]  # type: ignore[no-untyped-call]
        lines = [json.loads(line) for line in keyless.log.read_text().splitlines() if line.startswith("{")]
    posts = [(line["status"], line.get("completion_tokens", 0)) for line in lines if line["method"] == "POST"]
    assert posts == [(200, 1), (403, 0)]


def test_on_a_phone_in_the_dark_in_chinese(shim: LiveShim, secret: str, tmp_path: Path) -> None:
    """Nothing is wider than the screen, both languages and themes can be had, a refusal is told."""
    with chromium(390, 800) as browser:
        page = Page(browser, shim.url)
        page.enter_key(secret)
        if page.find("#send").text == "Send":
            page.find("#language").click()
        assert page.find("#send").text == "发送"
        light = page.script("return getComputedStyle(document.body).backgroundColor")
        page.find("#theme").click()
        assert page.script("return getComputedStyle(document.body).backgroundColor") != light
        page.set("#max-tokens", "0")
        page.ask("你好")
        page.until(lambda: any("max_tokens" in t for t in page.texts(".bad")), "the refusal is told")
        assert page.find("#question").get_property("value") == "你好"
        page.set("#max-tokens", "20")
        page.find("#open-settings").click()
        page.find("#send").click()
        page.until(lambda: page.texts(".end"), "the answer ends")
        assert page.texts(".end")[0].startswith("length · ")
        assert page.script("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.save_screenshot(str(tmp_path / "phone.png"))
