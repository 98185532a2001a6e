"""A real control plane for tests, `make cluster` and the demo."""

from turnout_testing.controlplane.plane import TOKEN_AUDIENCE, ClientError, ControlPlane, ControlPlaneError

__all__ = ["TOKEN_AUDIENCE", "ClientError", "ControlPlane", "ControlPlaneError"]
