"""What a container of a rendered pod is told."""

import json
import re
from typing import Any


def queues(documents: Any) -> dict[str, Any]:
    """Give the queues that the pods of these objects are told."""
    (found,) = (item for item in documents if "queues" in item.get("data", {}))
    told: dict[str, Any] = json.loads(found["data"]["queues"])
    return told


def variables(pod: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    """Give a container's variables; one that names a Secret's file as (the Secret, the key)."""
    files = {}
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            for item in source["secret"]["items"]:
                path = f"/etc/duly/{volume['name']}/{item['path']}"
                files[path] = (source["secret"]["name"], item["key"])
    names = [item["name"] for item in container.get("env", [])]
    assert len(set(names)) == len(names), names
    return {
        item["name"]: files.get(item.get("value"), item.get("value", item.get("valueFrom")))
        for item in container.get("env", [])
    }


REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expanded(container: dict[str, Any]) -> dict[str, str]:
    """Give the variables as a process gets them, in which Kubernetes has read $$ and $(NAME)."""
    found: dict[str, str] = {}

    def read(match: re.Match[str]) -> str:
        return "$" if match[1] is None else found.get(match[1], match[0])

    for item in container["env"]:
        if "value" in item:
            found[item["name"]] = REFERENCE.sub(read, item["value"])
    return found
