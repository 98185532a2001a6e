"""`python -m turnout_operator` is the `turnout` command."""

from turnout_operator.cli.main import run

run()
