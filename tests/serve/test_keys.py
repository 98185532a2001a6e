"""Keys of `serve`: where they come from, and that they are never shown."""

import base64
from pathlib import Path

import pytest

from turnout_operator.clusters import SecretKey
from turnout_operator.redacted import Redacted
from turnout_operator.serve import keys

KEY = SecretKey(namespace="llm", name="openai", key="apiKey")


def test_a_key_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    options = [keys.parse("llm/openai/apiKey=env:OPENAI"), keys.parse(f"llm/other/k=file:{tmp_path}/key")]
    found = keys.read(options, {"OPENAI": "from-env"})
    assert {k.name: v.reveal() for k, v in found.items()} == {"openai": b"from-env", "other": b"from-file\n"}


@pytest.mark.parametrize(
    "text", ["sk-secret", "a/b=env:X", "a/b/c=sk-secret", "a/b/c=env:", "a/b/c=vault:sk-secret", "a//c=env:X"]
)
def test_a_malformed_option_is_refused_without_repeating_what_may_be_a_key(text: str) -> None:
    with pytest.raises(keys.KeyRefused) as refused:
        keys.parse(text)
    assert "namespace/name/key=env:VARIABLE" in str(refused.value)
    assert "sk-secret" not in str(refused.value).partition("=")[2]


def test_a_variable_or_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(keys.KeyRefused, match="variable OPENAI is empty or not there"):
        keys.read([keys.parse("llm/openai/apiKey=env:OPENAI")], {})
    with pytest.raises(keys.KeyRefused, match="No such file"):
        keys.read([keys.parse(f"llm/openai/apiKey=file:{tmp_path}/none")], {})


def test_a_secret_manifest_gives_data_and_string_data_and_the_latter_wins() -> None:
    manifest = {
        "kind": "Secret",
        "metadata": {"namespace": "llm", "name": "openai"},
        "data": {"apiKey": base64.b64encode(b"old").decode(), "other": base64.b64encode(b"o").decode(), "bad": "%%"},
        "stringData": {"apiKey": "new"},
    }
    found = keys.of_manifests([manifest, {"kind": "ConfigMap", "metadata": {"name": "x"}}])
    assert {k.key: v.reveal() for k, v in found.items()} == {"apiKey": b"new", "other": b"o"}


def test_the_compiler_learns_names_and_a_digest_that_changes_with_the_value() -> None:
    one, other = (keys.facts({KEY: Redacted(value)})[0] for value in (b"one", b"other"))
    assert (one.namespace, one.name, one.keys) == ("llm", "openai", ("apiKey",))
    assert one.digest != other.digest


def test_a_redacted_value_shows_itself_nowhere() -> None:
    value = Redacted(b"sk-secret")
    for shown in (repr(value), str(value), f"{value}", f"{value!r}", str([value]), str({KEY: value})):
        assert "sk-secret" not in shown
        assert "[redacted]" in shown
