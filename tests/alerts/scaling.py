"""The shipped rules, their times divided by one factor, so that a run takes minutes.

Divided are the ranges (`[5m]`), the offsets and `for`. Thresholds stay, and so do the intervals of
the services: a lease is ten seconds, and the queues are read every five.
"""

import re
from pathlib import Path

import yaml

RULES = Path(__file__).parents[2] / "deploy/helm/duly/files/rules/duly.yaml"
NAMESPACE, RELEASE = "jobs", "shop"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIMES = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=offset )(\d+)([smhd])\b")


def shipped():
    """Return the groups of rules as the chart renders them for one release."""
    text = RULES.read_text(encoding="utf-8")
    text = text.replace(
        "$fullname", f'namespace="{NAMESPACE}", horizontalpodautoscaler=~".*{RELEASE}.*"'
    )
    text = text.replace("$release", f'namespace="{NAMESPACE}", release="{RELEASE}"')
    return yaml.safe_load(text)["groups"]


def names():
    """Return the names of all alerts that are shipped, in their order."""
    return [rule["alert"] for group in shipped() for rule in group["rules"] if "alert" in rule]


def divided(number, unit, factor):
    """Return a time of PromQL: ("5", "m") by 60 → "5000ms"."""
    return f"{int(number) * SECONDS[unit] * 1000 // factor}ms"


def scaled(groups, factor):
    """Return groups of rules with every range, offset and `for` divided."""
    return [
        {**group, "rules": [_rule(rule, factor) for rule in group["rules"]]} for group in groups
    ]


def _rule(rule, factor):
    expression = _TIMES.sub(
        lambda found: divided(*(part for part in found.groups() if part), factor), rule["expr"]
    )
    times = {}
    if "for" in rule:
        times = {"for": divided(*re.fullmatch(r"(\d+)([smhd])", rule["for"]).groups(), factor)}
    return {**rule, **times, "expr": expression}
