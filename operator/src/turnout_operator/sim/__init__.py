"""The stand-in provider: OpenAI and Anthropic dialects, scripted faults, and a bill of its own.

It imports nothing of the compiler, the API models or the sidecar, so that what it says about them is independent.
"""

from turnout_operator.sim.amounts import InputError
from turnout_operator.sim.bill import Bill, Line
from turnout_operator.sim.keys import name as key_name
from turnout_operator.sim.log import Entry, Outcome
from turnout_operator.sim.profile import Profile
from turnout_operator.sim.running import Sim
from turnout_operator.sim.script import Script
from turnout_operator.sim.server import Server, State

__all__ = ["Bill", "Entry", "InputError", "Line", "Outcome", "Profile", "Script", "Server", "Sim", "State", "key_name"]
