"""Makes azure-llm-2023-chat.csv from the original trace: its first rows, times as offsets in milliseconds.

    python make_azure_chat.py AzureLLMInferenceTrace_conv.csv > azure-llm-2023-chat.csv

The original has the columns TIMESTAMP (to 100 ns), ContextTokens, GeneratedTokens. Figures only, no text.
"""

import csv
import sys
from datetime import datetime
from pathlib import Path
from typing import TextIO

ROWS = 600


def milliseconds(timestamp: str) -> int:
    """Whole milliseconds since some fixed day; datetime reads six of the seven decimals."""
    moment = datetime.fromisoformat(timestamp[:26])
    return round((moment - datetime(2023, 1, 1)).total_seconds() * 1000)  # noqa: DTZ001  (the same)


def convert(source: TextIO, target: TextIO, rows: int) -> None:
    """Writes offset_ms, input_tokens, output_tokens of the first `rows` requests; the first is at 0."""
    out = csv.writer(target, lineterminator="\n")
    out.writerow(["offset_ms", "input_tokens", "output_tokens"])
    begin = None
    for _, row in zip(range(rows), csv.DictReader(source), strict=False):
        now = milliseconds(row["TIMESTAMP"])
        begin = now if begin is None else begin
        out.writerow([now - begin, int(row["ContextTokens"]), int(row["GeneratedTokens"])])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} AzureLLMInferenceTrace_conv.csv > azure-llm-2023-chat.csv")
    with Path(sys.argv[1]).open(newline="") as original:
        convert(original, sys.stdout, ROWS)
