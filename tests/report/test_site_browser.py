"""The page of audits in a real browser: it sorts, filters, fits a phone, is dark where asked, and runs nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from kvverify.claims import ledger
from tests.cli.command import ROOT, kvverify
from tests.report.chromium import Browser, Tab, browser_path
from tests.report.results import HOSTILE, several

PATH = browser_path()

CONTRAST = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, place) => {
    const part = [r, g, b][place] / 255;
    return sum + weight * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const found = parts(getComputedStyle(element).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  let least = [99, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest("script")) continue;
    const style = getComputedStyle(element);
    const words = parts(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [high, low] = [light(words), light(ground(element))].sort((a, b) => b - a);
    const found = (high + 0.05) / (low + 0.05);
    if (found < least[0]) least = [found, element.outerHTML.slice(0, 200)];
  }
  return least;
})()"""
WIDE_PARTS = """[...document.querySelectorAll("main *")].filter((element) =>
  element.checkVisibility() && !element.closest(".scroll *, svg *, .unseen")
  && element.getBoundingClientRect().right > innerWidth + 0.5).map((element) => element.outerHTML.slice(0, 120))"""
COLUMN = """((place) => [...document.querySelectorAll("#field tbody tr")].filter((row) => !row.hidden)
  .map((row) => row.cells[place].textContent))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with Browser(PATH) as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything: every kind of result, hostile names, the ledger."""
    folder = tmp_path_factory.mktemp("site")
    with mock.patch("kvverify.claims.ledger.CLAIMS", ledger.CLAIMS[:2]):
        done = kvverify("report", *several(folder), "-o", folder / "site", "--no-curves")
    assert done.code == 0, done
    return folder / "site" / "index.html"


@pytest.fixture(scope="module")
def tab(browser: Browser, page: Path) -> Tab:
    """As a computer shows it."""
    return browser.open(page)


def quiet(tab: Tab, page: Path) -> None:
    """No error, no word on the console, nothing asked for but the page itself."""
    assert tab.told("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []
    assert [event["request"]["url"] for event in tab.told("Network.requestWillBeSent")] == [page.absolute().as_uri()]
    assert tab.run("window.hit") is None


def test_it_loads_nothing_and_says_nothing(tab: Tab, page: Path) -> None:
    assert tab.run("document.title") == "11 audits of KV-cache compressors"
    quiet(tab, page)


def test_hostile_names_stay_text(tab: Tab) -> None:
    assert tab.run("document.querySelectorAll('script').length") == 1
    assert tab.run("document.images.length") == 0
    names = tab.run('[...document.querySelectorAll("#field tbody th a")].map((link) => link.textContent)')
    assert names.count(HOSTILE) == 2
    assert tab.run(f"document.body.innerText.includes({json.dumps(HOSTILE)})")


def test_the_policy_stops_what_gets_in_all_the_same(browser: Browser, page: Path) -> None:
    other = browser.open(page)
    other.run("""(() => {
      window.stopped = [];
      addEventListener("securitypolicyviolation", (event) => window.stopped.push(event.effectiveDirective));
      const script = document.createElement("script");
      script.textContent = "window.hit = 1";
      document.body.append(script);
      const parts = "<img src='x.png' onerror='window.hit = 2'><iframe src='/'></iframe>";
      document.body.insertAdjacentHTML("beforeend", parts);
      const style = document.createElement("style");
      style.textContent = "body { display: none }";
      document.head.append(style);
      fetch("https://example.org/").catch(() => 0);
    })()""")
    other.until("window.stopped.length > 5")
    stopped = {"connect-src", "frame-src", "img-src", "script-src-attr", "script-src-elem", "style-src-elem"}
    assert set(other.run("window.stopped")) == stopped
    assert other.run("window.hit") is None
    assert other.run("getComputedStyle(document.body).display") == "block"


def test_a_click_sorts_and_another_one_turns_it_round(tab: Tab) -> None:
    heads = tab.run('[...document.querySelectorAll("#field thead th span")].map((head) => head.textContent)')
    wire = heads.index("wire")
    head = f"#field thead th:nth-child({wire + 1})"
    first = tab.run('document.querySelector("#field [aria-sort]").textContent')
    assert first.startswith("bits a scalar")
    for direction in ("ascending", "descending"):
        tab.click(f"{head} button")
        assert tab.run(f"document.querySelector('{head}').ariaSort") == direction
        assert tab.run('document.querySelectorAll("#field [aria-sort]").length') == 1
        shown = tab.run(f"{COLUMN}({wire})")
        figures = [float(told.replace(",", "")) for told in shown if told != "–"]
        assert figures == sorted(figures, reverse=direction == "descending")
        assert len(set(figures)) > 5
        assert shown[len(figures) :] == ["–"] * 2, "what is unknown comes last"


def test_words_are_sorted_as_words(tab: Tab) -> None:
    tab.click("#field thead th:first-child button")
    names = tab.run('[...document.querySelectorAll("#field tbody th a")].map((link) => link.textContent)')
    assert names == tab.run(f'{json.dumps(names)}.sort((a, b) => a.localeCompare(b, "en", {{sensitivity: "base"}}))')


def test_the_keyboard_sorts_and_filters_and_opens(tab: Tab) -> None:
    tab.run('document.getElementById("filter").focus()')
    tab.call("Input.insertText", text="hidden STATE")
    rows = tab.run(f"{COLUMN}(0)")
    assert len(rows) == 2
    assert tab.run('document.getElementById("shown").textContent') == "2 of 11 audits"
    assert tab.run('[...document.querySelectorAll("details.audit")].filter((one) => !one.hidden).length') == 2
    visible = '[...document.querySelectorAll(".plot.wide a")].filter((one) => one.checkVisibility()).length'
    assert tab.run(visible) == 2
    tab.run('const all = document.getElementById("filter"); all.value = ""; all.dispatchEvent(new Event("input"))')
    assert len(tab.run(f"{COLUMN}(0)")) == 11
    for times, name in ((1, "scroll"), (2, "method"), (3, "class")):
        tab.run('document.getElementById("filter").focus()')
        for _ in range(times):
            tab.press("Tab", 9)
        active = tab.run("document.activeElement.className + document.activeElement.innerText")
        assert name in active, active
    for key, code, text, direction in (("Enter", 13, "\r", "ascending"), (" ", 32, " ", "descending")):
        tab.press(key, code, text)
        assert tab.run("document.activeElement.closest('th').ariaSort") == direction
    tab.run('document.querySelector("#field tbody a").focus()')
    tab.press("Enter", 13, "\r")
    tab.until('location.hash && document.querySelector(location.hash).matches("details[open]")')


def test_a_point_leads_to_its_evidence(tab: Tab) -> None:
    tab.run('for (const one of document.querySelectorAll("details[open]")) one.open = false')
    tab.click(".plot.wide a circle")
    opened = '[...document.querySelectorAll("details.audit[open]")].map((one) => "#" + one.id).join()'
    tab.until(opened)
    assert tab.run(opened) == tab.run("location.hash")


@pytest.mark.parametrize("width", [320, 360, 400])
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, page: Path, width: int) -> None:
    phone = browser.open(page, width, 700)
    phone.run('for (const one of document.querySelectorAll("details")) one.open = true')
    assert phone.run("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert phone.run(WIDE_PARTS) == []
    assert phone.run('document.querySelector(".plot.narrow").checkVisibility()')
    assert not phone.run('document.querySelector(".plot.wide").checkVisibility()')
    sideways = (
        '(() => { const e = document.querySelector("#field").parentElement; e.scrollLeft = 99; return e.scrollLeft })()'
    )
    assert phone.run(sideways) == 99
    sizes = phone.run(
        '[...document.querySelectorAll(".plot.narrow text")].map((text) => text.getBoundingClientRect().height)'
    )
    assert min(sizes) > 10, "letters of a plot can be read"
    quiet(phone, page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_stand_out_from_their_ground(browser: Browser, page: Path, scheme: str) -> None:
    one = browser.open(page, scheme=scheme)
    one.run('for (const part of document.querySelectorAll("details")) part.open = true')
    red, *_ = map(int, re.findall(r"\d+", one.run("getComputedStyle(document.body).backgroundColor")))
    assert red < 40 if scheme == "dark" else red == 255
    least, where = one.run(CONTRAST)
    assert 4.5 <= least < 21, where


def test_paper_is_white_and_shows_all(browser: Browser, page: Path) -> None:
    paper = browser.open(page, 750, 1000, media="print", scheme="dark")
    assert paper.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown = '[...document.querySelectorAll("details.audit .command")].filter((one) => one.checkVisibility()).length'
    assert paper.run(shown) == 11, "what is closed on the screen is open on paper"
    assert not paper.run('document.querySelector(".tools").checkVisibility()')
    assert paper.run(CONTRAST)[0] >= 4.5
    assert paper.run("document.documentElement.scrollWidth") <= 750
    assert len(paper.call("Page.printToPDF")["data"]) > 50_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_field_guides_page_stands(browser: Browser, tmp_path: Path) -> None:
    results = sorted((ROOT / "instances" / "field-guide").glob("*.jsonl"))
    assert kvverify("report", *results, "-o", tmp_path, "--no-claims").code == 0
    one = browser.open(tmp_path / "index.html", 360, 700)
    assert one.run("document.documentElement.scrollWidth") == 360
    assert one.run('document.querySelectorAll(".plot.narrow .curve").length') >= 3
    quiet(one, tmp_path / "index.html")
    overlaps: Any = one.run("""(() => {
      const boxes = [...document.querySelectorAll(".plot.narrow .name")].map((text) =>
        [text.closest("svg"), text.getBoundingClientRect(), text.textContent]);
      return boxes.flatMap(([svg, a, name], place) => boxes.slice(place + 1).filter(([other, b]) => svg === other
        && a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom)
        .map(([, , to]) => [name, to]));
    })()""")
    assert overlaps == []
