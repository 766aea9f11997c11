"""The lines of a live server's /metrics that belong to the models' own families, with their labels."""

from __future__ import annotations

import re
import urllib.request
from typing import NamedTuple

from tests.support.live.servers import LiveServer

_LINE = re.compile(r"^qwen_triton_(\w+)\{([^}]*)\} ([\d.eE+-]+)$", re.MULTILINE)


class Metric(NamedTuple):
    """One line of /metrics."""

    labels: dict[str, str]
    value: float


def metrics(server: LiveServer, family: str) -> list[Metric]:
    """The lines of one of our families."""
    text = urllib.request.urlopen(server.metrics, timeout=10).read().decode()
    return [
        Metric(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value))
        for found, labels, value in _LINE.findall(text)
        if found == family
    ]


def total(server: LiveServer, family: str, model: str) -> float:
    return sum(metric.value for metric in metrics(server, family) if metric.labels["model"] == model)
