"""Compiled routes and pools as Envoy resources. Pure: the same input gives the same bytes."""

from turnout_operator.render.envoy.listener import Edge
from turnout_operator.render.envoy.resources import Resource, Resources, resources

__all__ = ["Edge", "Resource", "Resources", "resources"]
