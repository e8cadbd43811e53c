"""The page, in the system's Chromium, on the real server."""
