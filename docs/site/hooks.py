"""What the site changes in a page: fences with a name (```bash submit.sh), which tests read, lose the name.

Markdown shows them as they are elsewhere; the site's highlighter knows a language alone.
"""

import re
from typing import Any

_NAMED_FENCE = re.compile(r"^(```[\w-]+)[ \t]+\S.*$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of each page."""
    return _NAMED_FENCE.sub(r"\1", markdown)
