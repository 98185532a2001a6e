"""The committed piece of the Azure trace is what its script makes, and can be replayed."""

import csv
import subprocess
import sys
from pathlib import Path

TRACES = Path(__file__).parents[2] / "examples" / "traces"

ORIGINAL = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-17 00:00:00.0004999,879,55
"""


def test_the_script_turns_timestamps_into_offsets(tmp_path: Path) -> None:
    original = tmp_path / "original.csv"
    original.write_text(ORIGINAL)
    script = TRACES / "make_azure_chat.py"
    made = subprocess.run([sys.executable, script, original], capture_output=True, text=True, check=True, timeout=60)
    offset = (5 * 3600 + 44 * 60 + 13) * 1000 + 319  # 18:15:46.681 to midnight, and a half of a millisecond down
    assert made.stdout == f"offset_ms,input_tokens,output_tokens\n0,374,44\n4314,396,109\n{offset},879,55\n"


def test_the_committed_trace_is_in_order_and_begins_as_the_original() -> None:
    with (TRACES / "azure-llm-2023-chat.csv").open(newline="") as trace:
        rows = [tuple(int(value) for value in row.values()) for row in csv.DictReader(trace)]
    assert len(rows) == 600
    assert rows[:3] == [(0, 374, 44), (4314, 396, 109), (4541, 879, 55)]
    assert rows == sorted(rows, key=lambda row: row[0])
    assert all(tokens > 0 for _, *both in rows for tokens in both)
