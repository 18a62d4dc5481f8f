"""What docs/install.md says about production, as it would be typed."""

import re
import textwrap
from pathlib import Path

import yaml

HOSTS = {"standalone": ": valkey.stores.svc", "cluster": ": valkey-cluster.stores.svc"}
"""Topology → what marks the block that is written for it alone; Sentinel needs none."""


def production(root: Path) -> list[str]:
    """Give the indented blocks of the part about production."""
    text = (root / "docs/install.md").read_text(encoding="utf-8")
    text = text.partition("## Production")[2].partition("## Upgrading")[0]
    blocks = re.findall(r"(?:^ {4,}\S.*\n)+", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def upkeep(root: Path) -> list[str]:
    """Give the commands of the part about upgrading and rolling back."""
    text = (root / "docs/install.md").read_text(encoding="utf-8")
    text = text.partition("## Upgrading")[2].partition("## Sizes")[0]
    found = re.findall(r"^ {4}(\S.*)$|`(helm uninstall [^`]+)`", text, re.MULTILINE)
    return [line or inline for line, inline in found]


def values(page, topology):
    """Give what the page puts into mine.yaml for a broker of this topology."""
    others = [host for name, host in HOSTS.items() if name != topology]
    found = {}
    for block in page:
        if block.startswith(("kubectl", "helm")) or any(host in block for host in others):
            continue
        for key, value in yaml.safe_load(block.replace("…", "{}")).items():
            old = found.get(key, {})
            # "as above": users stay those of the block before.
            found[key] = {**old, **{name: each or old[name] for name, each in value.items()}}
    return found
