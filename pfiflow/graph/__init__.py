"""Pictures of routes: Mermaid text and SVG, laid out here, with no service and no program besides."""

from pfiflow.graph.mermaid import as_mermaid
from pfiflow.graph.model import Graph, graph_of
from pfiflow.graph.svg import as_svg

__all__ = ["Graph", "as_mermaid", "as_svg", "graph_of"]
