"""The oracle stands alone: the sim imports nothing of what it judges."""

import ast
from pathlib import Path

import turnout_operator.sim


def test_the_sim_imports_nothing_of_the_product_but_itself() -> None:
    folder = Path(turnout_operator.sim.__file__).parent
    imported = set()
    for source in folder.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{source.name}: relative imports hide where they lead"
                imported.add(node.module or "")
    ours = {name for name in imported if name.startswith("turnout")}
    assert ours, "the sim's modules import each other"
    assert {name for name in ours if not name.startswith("turnout_operator.sim")} == set()
