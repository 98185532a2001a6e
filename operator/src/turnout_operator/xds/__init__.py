"""Discovery: what each sidecar is to have, what it has, and the server that moves the one towards the other."""

from turnout_operator.xds.nodes import Nodes, Progress
from turnout_operator.xds.server import Server, Tls
from turnout_operator.xds.view import View, view
from turnout_operator.xds.views import Views

__all__ = ["Nodes", "Progress", "Server", "Tls", "View", "Views", "view"]
