"""Turnout beside bare Envoy, in one run on one machine. `python -m bench.run`."""
