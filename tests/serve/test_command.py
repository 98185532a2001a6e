"""The `turnout` command itself: it lists everything and imports only what is called."""

import importlib.metadata
import subprocess
import sys

import pytest

from turnout_operator.cli.main import COMMANDS


def turnout(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "turnout_operator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_every_command_with_a_line() -> None:
    said = turnout("--help").stdout
    for name, lazy in COMMANDS.items():
        assert name in said
        assert lazy.help.split()[0] in said


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_of_the_list_is_there(name: str) -> None:
    called = turnout(name, "--help")
    assert called.returncode == 0, called.stderr
    assert "Usage:" in called.stdout


def test_the_version_is_that_of_the_package_and_costs_no_import_of_what_it_does_not_need() -> None:
    assert turnout("version").stdout.strip() == importlib.metadata.version("turnout-operator")
    heavy = "{'grpc', 'kopf', 'kubernetes', 'envoy', 'cel', 'pydantic'}"
    probe = f"import sys, turnout_operator.cli.main; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"


def test_a_misspelt_command_is_answered_with_the_right_one() -> None:
    called = turnout("chekc")
    assert called.returncode == 2
    assert "check" in called.stderr


def test_a_malformed_address_or_key_is_a_usage_error_that_shows_no_key() -> None:
    called = turnout("serve", ".", "--listen", "8080")
    assert called.returncode == 2
    assert "HOST:PORT" in called.stderr
    called = turnout("serve", ".", "--secret", "llm/openai/apiKey=sk-secret")
    assert called.returncode == 2
    assert "sk-secret" not in called.stderr + called.stdout
