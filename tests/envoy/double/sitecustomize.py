"""Read by the embedded interpreter of these tests only: puts `engine_double.Engine` where the shell finds the engine.

The product has no switch for this; the directory stands first on PYTHONPATH.
"""

import sys
import types

import engine_double  # type: ignore[import-not-found] # stands beside this file, on PYTHONPATH

_engine = types.ModuleType("turnout_sidecar.engine")
_engine.Engine = engine_double.Engine  # type: ignore[attr-defined]
sys.modules["turnout_sidecar.engine"] = _engine
