"""HTTP in, HTTP out. No decisions are made here."""
