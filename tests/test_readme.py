"""The code of the README and of the guide runs, and prints what they say it prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("compiled_quickly")

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", *(f"docs/{name}.md" for name in ("bundles", "guide", "patterns", "interchange", "simulator"))]
BLOCK = re.compile(r"^```(python)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "document", ["README.md", "docs/bundles.md", "docs/guide.md", "docs/patterns.md", "docs/interchange.md", "docs/simulator.md"]
)
def test_every_block_runs_and_prints_what_is_said(document: str, tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "readme"}
    printed = ""
    blocks = BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert len(blocks) >= 3
    for number, (language, body) in enumerate(blocks):
        if language:
            source = tmp_path / f"block{number}.py"  # a file, so that functions can be read
            source.write_text(body, encoding="utf-8")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(body, str(source), "exec"), names)
            printed = out.getvalue()
        else:
            assert printed == body
