"""The report: curves follow from samples, charts from curves; the page is whole, safe and looked at in a browser."""

from __future__ import annotations

import argparse
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_bench.report.chart import Axis, Series, line_chart, round_step
from qwen_triton_bench.report.command import add_arguments, run
from qwen_triton_bench.report.curves import distribution, gap_times, in_flight_over_time, tokens_over_time
from qwen_triton_bench.report.results import encode_result
from qwen_triton_bench.run.samples import Run, Sample
from qwen_triton_bench.run.statistics import figures
from tests.support.browser import dump_dom

CHARTS = 6


def result(name: str, concurrency: int, **parameters: Any) -> dict[str, Any]:
    """A run of 20 requests, four at a time, 5 tokens each in five responses."""
    samples = []
    for n in range(20):
        sent = n // 4 * 1.0
        times = [sent + 0.1 + 0.2 * t * (1 + n % 3 / 10) for t in range(5)]
        samples.append(Sample(n, sent, 7, 5, times, [1] * 5, [], 5, times[-1], 7, 5, 0, "length"))
    run_ = Run(samples, 0.0, max(s.ended or 0 for s in samples), 0.1, streamed=True)
    given = {"mode": "bls", "workload": "token-norm-dist", "concurrency": concurrency} | parameters
    return encode_result(name, given, {"cores": "2"}, figures(run_), run_)


def page(folder: Path, *results: dict[str, Any]) -> str:
    files = []
    for n, data in enumerate(results):
        files.append(folder / f"r{n}.json")
        files[-1].write_text(json.dumps(data))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    output = folder / "report.html"
    assert run(parser.parse_args([*map(str, files), "-o", str(output)])) == 0
    return output.read_text(encoding="utf-8")


def test_a_distribution_rises_from_the_least_to_the_most() -> None:
    """In milliseconds and percent; half of the values lie below 50 %."""
    curve = distribution([n / 1000 for n in range(101)])
    assert curve[0] == (0.0, 0.0)
    assert curve[-1] == (pytest.approx(100.0), 100.0)
    assert all(ms == pytest.approx(share, abs=1e-6) for ms, share in curve)
    assert distribution([]) == []


def test_tokens_over_time_add_up_to_the_tokens() -> None:
    """The area under the curve is what was generated; a piece of text counts by its share."""
    samples = [{"times": [1.0, 2.0], "sizes": [3, 9], "output_tokens": 8, "error": None}]
    curve = tokens_over_time(samples)
    width = curve[1][0] - curve[0][0]
    assert sum(rate for _, rate in curve) * width == pytest.approx(8)
    assert curve[30][1] * width == pytest.approx(2)


def test_in_flight_over_time_counts_open_requests() -> None:
    """Two from 0 to 1, one until 2."""
    curve = in_flight_over_time([{"sent": 0.0, "ended": 1.0}, {"sent": 0.0, "ended": 2.0}])
    assert {n for t, n in curve if t < 0.99} == {2.0}
    assert {n for t, n in curve if 1.01 < t < 1.99} == {1.0}


def test_gaps_of_failed_answers_are_left_out() -> None:
    """They stopped where nobody wanted them to."""
    times = {"times": [1.0, 1.5, 1.75]}
    assert gap_times([times | {"error": None}, times | {"error": "x"}]) == [0.5, 0.25]


@pytest.mark.parametrize(
    ("span", "step"), [(1.0, 0.2), (6.0, 1.0), (7.0, 2.0), (100.0, 20.0), (0.03, 0.005), (61.0, 20.0)]
)
def test_axes_have_round_steps(span: float, step: float) -> None:
    """1, 2 or 5 times a power of ten."""
    assert round_step(span, 6) == pytest.approx(step)


def test_points_lie_where_their_values_say() -> None:
    """On a scale from 0 to 10 the middle value is in the middle, the larger one above."""
    svg = line_chart("t", [Series("a", [(0, 0), (5, 5), (10, 10)])], Axis("x"), Axis("y"))
    found = re.search(r'points="([^"]+)"', svg)
    assert found
    (x0, y0), (x1, y1), (x2, y2) = (map(float, p.split(",")) for p in found[1].split())
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert y0 > y1 > y2


@pytest.mark.parametrize("points", [[(1.0, 5.0)], [(0.0, 0.0)], [(2.0, 0.0), (2.0, 0.0)], [(1e-9, 1e12)]])
@pytest.mark.parametrize("log", [True, False])
def test_no_chart_is_too_small(points: list[tuple[float, float]], log: bool) -> None:
    """One point, all alike, none that a logarithm has: a chart or a sentence, never an error or a NaN."""
    svg = line_chart("t", [Series("a", points)], Axis("x", log=log), Axis("y"))
    assert "nan" not in svg.lower()
    assert "inf" not in svg.lower()


def test_the_page_asks_for_nothing_from_anywhere(tmp_path: Path) -> None:
    """No script, no address but the empty icon: it opens offline."""
    text = page(tmp_path, result("one", 4), result("two", 8))
    assert "<script" not in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,"]
    assert "url(" not in text
    assert "@import" not in text


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  its signature
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None: ...

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_tags_close_in_order(tmp_path: Path) -> None:
    """The page is not repaired by luck."""
    tags = _Tags()
    tags.feed(page(tmp_path, result("one", 4)))
    assert tags.open == []


def test_parameters_that_differ_are_marked_and_others_not(tmp_path: Path) -> None:
    """Of two runs with another concurrency and the same model."""
    text = page(tmp_path, result("one", 4, model="m"), result("two", 8, model="m"))
    assert '<tr class="differs"><th scope="row">concurrency</th><td>4</td><td>8</td></tr>' in text
    assert '<tr><th scope="row">model</th><td>m</td><td>m</td></tr>' in text


def build(name: str, **settings: Any) -> dict[str, Any]:
    """A run of `tune`: the load is that of the others, the deployment's file another."""
    return {**result(name, 4, deployment=f"/tuning/{name}.yaml"), "settings": settings}


def legends(text: str) -> list[list[str]]:
    """The names of the lines of the two charts over throughput."""
    return [
        re.findall(r"</span>([^<]*)</li>", legend) for legend in re.findall(r'<ul class="legend">.*?</ul>', text)[:2]
    ]


def dots(text: str) -> list[str]:
    return re.findall(r'<text class="dot"[^>]*>([^<]*)</text>', text)


def test_two_builds_are_two_lines_with_their_settings(tmp_path: Path) -> None:
    """And never one that joins them; each dot says which build it is, since the load is the same for all."""
    text = page(tmp_path, build("a", **{"engine.slots": 64}), build("b", **{"engine.slots": 512}))
    assert legends(text) == [["engine.slots=64", "engine.slots=512"]] * 2
    assert dots(text) == ["engine.slots=64", "engine.slots=512"] * 2
    assert '<tr class="differs"><th scope="row">engine.slots</th><td>64</td><td>512</td></tr>' in text
    assert "<h2>Settings</h2>" in text


def test_runs_that_differ_in_their_load_only_are_one_line(tmp_path: Path) -> None:
    """In the order of their load; there are no settings of a deployment to show."""
    text = page(tmp_path, result("more", 8, num_requests=80), result("less", 4, num_requests=40))
    assert legends(text) == [["bls · token-norm-dist"]] * 2
    assert dots(text) == ["4 at once", "8 at once"] * 2
    assert "<h2>Settings</h2>" not in text


def test_sweeps_over_two_servers_are_two_lines_named_by_what_differs(tmp_path: Path) -> None:
    runs = [result(f"{url}-{n}", n, url=url) for url in ("a:1", "b:1") for n in (4, 8)]
    text = page(tmp_path, *runs)
    assert legends(text) == [["bls · token-norm-dist · url=a:1", "bls · token-norm-dist · url=b:1"]] * 2


def test_single_runs_that_differ_otherwise_have_their_names(tmp_path: Path) -> None:
    text = page(
        tmp_path,
        result("grpc", 4, protocol="grpc"),
        result("a name that is far too long for a dot", 4, protocol="http"),
    )
    assert legends(text)[0] == ["grpc", "a name that is far too long for a dot"]
    assert dots(text)[:2] == ["grpc", "a name that is far too long for…"]


def test_names_and_values_are_data(tmp_path: Path) -> None:
    """Nothing in a result becomes part of the page's own words."""
    text = page(tmp_path, result("<b>x</b>", 4, model="<script>alert(1)</script>"))
    assert "<script" not in text
    assert "<b>x" not in text
    assert "&lt;b&gt;x" in text


def test_errors_and_open_requests_are_said_first(tmp_path: Path) -> None:
    """A run that half failed does not look like a good one."""
    data = result("one", 4)
    data["figures"] |= {"errors": {"full": 3}, "unfinished": 2}
    text = page(tmp_path, data)
    assert "one: 3 of 20 requests failed: 3 × full" in text
    assert text.index("stopped with 2 requests open") < text.index("<svg")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """By their files."""
    text = page(tmp_path, result("one", 4), result("one", 8))
    assert "one (r0)" in text
    assert "one (r1)" in text


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "other"}'])
def test_what_is_no_result_is_one_line(text: str, tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "x.json").write_text(text)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ConfigurationError, match=r"x\.json"):
        run(parser.parse_args([str(tmp_path / "x.json")]))


_PROBE = """<script>onload = () => {
  const seen = [...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().height > 100);
  const lines = [...document.querySelectorAll('polyline')].filter(l => l.getTotalLength() > 10);
  const dots = document.querySelectorAll('circle');
  document.body.dataset.probe =
    [document.documentElement.scrollWidth, innerWidth, seen.length, lines.length, dots.length];
}</script>"""


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_draws_every_chart_and_it_fits_a_phone(width: int, tmp_path: Path) -> None:
    """In headless Chromium: no error, all charts with their lines, nothing wider than the window."""
    text = page(tmp_path, result("one", 4), result("two", 8))
    (tmp_path / "probed.html").write_text(text.replace("</body>", f"{_PROBE}</body>"), encoding="utf-8")
    dom, said = dump_dom(tmp_path / "probed.html", width)
    found = re.search(r'data-probe="([\d,.]+)"', dom)
    assert found, dom[-500:]
    scroll_width, window, charts, lines, dots = map(float, found[1].split(","))
    assert scroll_width <= window
    assert (charts, lines, dots) == (CHARTS, 2 * 4, 2 * 2)
    assert "CONSOLE" not in said


_SECOND_COLUMN = """<script>onload = () => {
  const cells = [...document.querySelectorAll('tr')].filter(r => r.cells.length > 2).map(r => r.cells[2]);
  const over = [...document.querySelectorAll('td')].filter(c => c.scrollWidth > c.clientWidth + 1);
  document.body.dataset.probe = [Math.max(...cells.map(c => c.getBoundingClientRect().right)), over.length];
}</script>"""


def test_a_long_path_wraps_and_leaves_the_second_run_in_view(tmp_path: Path) -> None:
    """Of two columns on a window of 1200 points."""
    long = "/home/someone/models/" + "a-rather-long-folder-name/" * 8 + "deployment.yaml"
    text = page(tmp_path, result("one", 4, deployment=long), result("two", 4, deployment=long.replace("one", "two")))
    (tmp_path / "probed.html").write_text(text.replace("</body>", f"{_SECOND_COLUMN}</body>"), encoding="utf-8")
    dom, _ = dump_dom(tmp_path / "probed.html", 1200)
    found = re.search(r'data-probe="([\d.]+),(\d+)"', dom)
    assert found, dom[-500:]
    assert float(found[1]) <= 1200
    assert found[2] == "0"


def test_a_browser_s_errors_would_be_seen(tmp_path: Path) -> None:
    """The check above can fail."""
    (tmp_path / "bad.html").write_text("<script>console.error('broken')</script>")
    assert "CONSOLE" in dump_dom(tmp_path / "bad.html", 400)[1]
