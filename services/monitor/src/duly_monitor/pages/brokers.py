"""The broker: its nodes, how they are, and what is wrong with them in words."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from duly.engine.inspection.health import Health, Level
from duly.engine.inspection.inspector import Inspector
from duly.engine.inspection.node_health import of_node
from duly.engine.inspection.node_info import NodeReport
from duly_monitor.render import Renderer

_SAID = 400
"""Lines of what a node says of itself."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as the page shows it."""

    node: NodeReport
    wrong: list[Health]
    said: list[tuple[str, str]]


class BrokerPages:
    """Answers for `/broker`."""

    def __init__(self, inspector: Inspector, renderer: Renderer) -> None:
        self._inspector, self._renderer = inspector, renderer

    async def brokers(self, _request: Request) -> Response:
        """Show every node, the one with most to say first read."""
        now = self._renderer.clock.now()
        nodes = [
            NodeView(node, of_node(node, now), sorted(node.raw.items())[:_SAID])
            for node in await self._inspector.brokers.nodes()
        ]
        return self._renderer.page("brokers.html", nodes=nodes, overall=_overall(nodes))


def _overall(nodes: list[NodeView]) -> Health:
    """Sum up all nodes in one line."""
    wrong = [
        (each.level.rank, view.node.broker.address, each)
        for view in nodes
        for each in view.wrong
        if each.level.rank < Level.NOTE.rank
    ]
    if not wrong:
        one = f"Broker {nodes[0].node.broker.address} is" if len(nodes) == 1 else ""
        return Health(Level.OK, f"{one or f'All {len(nodes)} nodes are'} healthy.")
    _, address, worst = min(wrong, key=lambda each: each[:2])
    more = f" {len(wrong) - 1} more below." if len(wrong) > 1 else ""
    return Health(worst.level, f"{address} {worst.sentence}.{more}")
