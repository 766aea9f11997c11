"""HTML page of several results: charts, tables, machine and versions, in one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from .chart import COLOURS, Axis, Point, Series, line_chart, number
from .curves import Samples, distribution, first_token_times, gap_times, in_flight_over_time, tokens_over_time
from .explain import EXPLANATIONS
from .results import BenchmarkResult
from .style import STYLE

_OVER_THROUGHPUT = (
    ("Latency over throughput", "P99 latency, ms", "latency", "99"),
    ("Time to first token over throughput", "P50 TTFT, ms", "first_token", "50"),
)
_LOAD = ("concurrency", "request_rate", "num_requests", "duration", "name")
"""Parameters in which the runs of one line differ."""
_LABEL = 32
"""Letters of a dot's label."""
_SHARE = Axis("% of them")
_SECONDS = Axis("seconds since the start")


def render_page(results: Sequence[BenchmarkResult]) -> str:
    """The page. Texts of results are escaped, so nothing in them can run."""
    runs = [(result, COLOURS[n % len(COLOURS)]) for n, result in enumerate(results)]
    parts = [
        "<h1>qwen-triton benchmark</h1>",
        *_warnings(results),
        "<h2>Throughput and latency</h2>",
        *_throughput(runs),
        "<h2>Distributions</h2>",
        _each(runs, "Time to first token", lambda s: distribution(first_token_times(s)), Axis("ms", log=True), _SHARE),
        _each(runs, "Inter-token latency", lambda s: distribution(gap_times(s)), Axis("ms", log=True), _SHARE),
        "<h2>Over time</h2>",
        _each(runs, "Output tokens a second", tokens_over_time, _SECONDS, Axis("tokens/s")),
        _each(runs, "Requests in flight", in_flight_over_time, _SECONDS, Axis("requests")),
        "<h2>Figures</h2>",
        _table(results, _figures),
        *_settings(results),
        "<h2>Parameters</h2><p>What differs between the runs is marked.</p>",
        _table(results, lambda r: {k: str(v) for k, v in r.parameters.items()}, mark=True),
        "<h2>Machine and versions</h2>",
        _table(results, lambda r: dict(r.machine), mark=True),
        _meanings(),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>qwen-triton benchmark</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


def _settings(results: Sequence[BenchmarkResult]) -> list[str]:
    if not any(result.settings for result in results):
        return []
    return [
        "<h2>Settings</h2><p>Keys of the deployment, with the values that were tried.</p>",
        _table(results, lambda r: {key: str(value) for key, value in r.settings.items()}, mark=True),
    ]


def _warnings(results: Sequence[BenchmarkResult]) -> list[str]:
    found = []
    for r in results:
        f = r.figures
        if f["errors"]:
            kinds = "; ".join(f"{count} × {kind}" for kind, count in f["errors"].items())
            found.append(f"{r.name}: {sum(f['errors'].values())} of {f['sent']} requests failed: {kinds}")
        if f["unfinished"]:
            found.append(f"{r.name}: stopped with {f['unfinished']} requests open")
    return [f'<p class="warning">{escape(text)}</p>' for text in found]


def _throughput(runs: Sequence[tuple[BenchmarkResult, str]]) -> list[str]:
    """Charts with a line for each group of runs that differ in their load only."""
    groups: dict[str, list[BenchmarkResult]] = {}
    for result, _ in runs:
        groups.setdefault(_apart_from_load(result), []).append(result)
    named = _named(list(groups.values()))
    return [
        line_chart(title, _load_series(named, spread, percent), Axis("output tokens/s"), Axis(axis))
        for title, axis, spread, percent in _OVER_THROUGHPUT
    ]


def _load_series(groups: Mapping[str, Sequence[BenchmarkResult]], spread: str, percent: str) -> list[Series]:
    found = []
    for n, (name, members) in enumerate(groups.items()):
        members = sorted(members, key=_offered)
        milliseconds = [1e3 * r.figures[spread]["percentiles"][percent] for r in members]
        rates = [r.figures["output_tokens_per_second"] for r in members]
        points = list(zip(rates, milliseconds, strict=True))
        alone = len(members) == 1 and len(groups) > 1
        labels = [_short(name)] if alone else [_load(r) for r in members]
        found.append(Series(name, points, labels, COLOURS[n % len(COLOURS)]))
    return found


def _apart_from_load(result: BenchmarkResult) -> str:
    """What runs of one line have in common: all but how many requests were sent and when, and but what they are called."""
    same = {name: value for name, value in result.parameters.items() if name not in _LOAD}
    return json.dumps([same, dict(result.settings)], sort_keys=True, default=str)


def _named(groups: Sequence[Sequence[BenchmarkResult]]) -> dict[str, Sequence[BenchmarkResult]]:
    """The groups by what is said of each: its settings of `tune`, its only run's name, or what its parameters differ in."""
    first = [group[0] for group in groups]
    varied = _differing([{k: v for k, v in r.parameters.items() if k not in _LOAD} for r in first])
    named: dict[str, Sequence[BenchmarkResult]] = {}
    for group, differs in zip(groups, varied, strict=True):
        result = group[0]
        name = _spelled(result.settings) or (result.name if len(group) == 1 and len(groups) > 1 else "")
        name = name or " · ".join(filter(None, [_workload(result), _spelled(differs)]))
        named[name if name not in named else f"{name} ({len(named) + 1})"] = group
    return named


def _differing(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each mapping, the entries that not all of them share."""
    names = dict.fromkeys(name for column in columns for name in column)
    apart = [name for name in names if len({str(column.get(name)) for column in columns}) > 1]
    return [{name: column[name] for name in apart if name in column} for column in columns]


def _spelled(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _workload(result: BenchmarkResult) -> str:
    p = result.parameters
    return f"{p.get('label') or p.get('mode', '')} · {p.get('workload', '')}"


def _short(text: str) -> str:
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…"


def _offered(result: BenchmarkResult) -> float:
    """Sort key of the runs of a group: concurrency, or requests a second."""
    p = result.parameters
    rate = p.get("request_rate", -1)
    return float(rate if rate != -1 else p.get("concurrency") or result.figures["sent"])


def _load(result: BenchmarkResult) -> str:
    p = result.parameters
    if p.get("request_rate", -1) != -1:
        return f"{p['request_rate']}/s"
    return f"{p['concurrency']} at once" if "concurrency" in p else f"all {result.figures['sent']}"


def _each(
    runs: Sequence[tuple[BenchmarkResult, str]], title: str, curve: Callable[[Samples], list[Point]], x: Axis, y: Axis
) -> str:
    return line_chart(title, [Series(r.name, curve(r.samples), (), colour) for r, colour in runs], x, y)


def _figures(result: BenchmarkResult) -> dict[str, str]:
    f = result.figures

    def ms(spread: str, percent: str) -> str:
        return number(1e3 * f[spread]["percentiles"][percent]) if f[spread]["count"] else "–"

    found = {
        "Requests/Sec": number(f["requests_per_second"]),
        "OP tokens/sec": number(f["output_tokens_per_second"]),
        "Avg. latency (ms)": number(1e3 * f["latency"]["mean"]),
        "P90 / P99 latency (ms)": f"{ms('latency', '90')} / {ms('latency', '99')}",
        "TTFT P50 / P99 (ms)": f"{ms('first_token', '50')} / {ms('first_token', '99')}",
        "Inter-token latency P50 / P99 (ms)": f"{ms('gaps', '50')} / {ms('gaps', '99')}",
        "TPOT P50 / P99 (ms)": f"{ms('time_per_output_token', '50')} / {ms('time_per_output_token', '99')}",
        "Avg. InFlight requests": number(f["in_flight"]["mean"]),
        "Run (s)": number(f["seconds"]),
        "Answered / sent": f"{f['answered']} / {f['sent']}",
        "IP / OP tokens": f"{f['input_tokens']:,} / {f['output_tokens']:,}",
        "Tokens per response": number(f["tokens_per_response"]),
    }
    if f["goodput"]:
        found["Goodput"] = f"{number(f['goodput']['per_second'])}/s, {f['goodput']['share']:.1%}"
    return found


def _table(
    results: Sequence[BenchmarkResult], rows_of: Callable[[BenchmarkResult], Mapping[str, Any]], *, mark: bool = False
) -> str:
    """A table with a row for each name and a column for each run. `mark`: highlights rows whose values differ."""
    columns = [rows_of(r) for r in results]
    names = list(dict.fromkeys(name for column in columns for name in column))
    head = "".join(f'<th scope="col">{escape(r.name)}</th>' for r in results)
    body = []
    for name in names:
        values = [str(column.get(name, "–")) for column in columns]
        differs = ' class="differs"' if mark and len(set(values)) > 1 else ""
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        body.append(f'<tr{differs}><th scope="row">{escape(name)}</th>{cells}</tr>')
    kind = " class=words" if mark else ""
    head = f"<thead><tr><td></td>{head}</tr></thead>"
    return f'<div class="wide"><table{kind}>{head}<tbody>{"".join(body)}</tbody></table></div>'


def _meanings() -> str:
    items = (f"<dt>{escape(name)}</dt><dd>{escape(en)}<br>{escape(zh)}</dd>" for name, (en, zh) in EXPLANATIONS.items())
    return f"<details><summary>What the figures mean · 指标解读</summary><dl>{''.join(items)}</dl></details>"
