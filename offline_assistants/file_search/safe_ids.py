"""Which ids can name what is kept of a vector store: a collection of Chroma, a file, a marker."""

from __future__ import annotations

import re

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,200}[A-Za-z0-9]")
"""What Chroma takes as a collection's name; no other id leads out of a folder."""
