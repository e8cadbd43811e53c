"""`python -m offline_assistants` is the command line."""

from __future__ import annotations

from offline_assistants.cli.app import main

if __name__ == "__main__":
    main()
