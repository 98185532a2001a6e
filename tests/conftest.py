"""One Hypothesis profile for all laws: the same examples each time, and no opinion about a busy machine's speed.

``HYPOTHESIS_PROFILE=explore`` looks for new examples instead; what it finds becomes an example or a scenario.
"""

import os

from hypothesis import HealthCheck, settings

_PATIENT = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=_PATIENT)
settings.register_profile("explore", deadline=None, print_blob=True, suppress_health_check=_PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
