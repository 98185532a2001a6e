"""What is generated from the models is what lies in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_operator.api import crdgen, reference

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", crdgen.FOLDERS)
def test_the_crds_are_those_of_the_models(folder: str) -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in (ROOT / folder).glob("*.yaml")} == crdgen.files()


def test_a_stale_crd_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crdgen.main([str(tmp_path)]) == 0
    assert crdgen.main(["--check", str(tmp_path)]) == 0
    stale = tmp_path / "turnout.dev_llmroutes.yaml"
    stale.write_text(stale.read_text(encoding="utf-8") + "# edited by hand\n", encoding="utf-8")

    assert crdgen.main(["--check", str(tmp_path)]) == 1
    assert str(stale) in capsys.readouterr().err


def test_the_reference_is_that_of_the_models() -> None:
    folder = ROOT / "docs" / "reference"

    pages = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    pages.pop("metrics.md")  # of the sidecar's metrics: its own test holds it to their table
    assert pages == reference.files()


def test_a_stale_page_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main([str(tmp_path)]) == 0
    assert reference.main(["--check", str(tmp_path)]) == 0
    (tmp_path / "llmroute.md").unlink()

    assert reference.main(["--check", str(tmp_path)]) == 1
    assert "llmroute.md" in capsys.readouterr().err
