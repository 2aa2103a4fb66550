"""What the site changes in a page, which other readers of Markdown show as it is.

Fences with a name (```bash submit.sh), which tests read, lose the name: the site's highlighter knows only a
language. And `\\|` in code in a table becomes the sign that it stands for.
"""

import re
from typing import Any

_CODE = re.compile(r"<code>[^<]*</code>")
_NAMED_FENCE = re.compile(r"^(```[\w-]+)[ \t]+\S.*$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of each page."""
    return _NAMED_FENCE.sub(r"\1", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Called by MkDocs with the HTML of each page."""
    return _CODE.sub(lambda match: match[0].replace("\\|", "|"), html)
