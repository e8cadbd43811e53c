"""Runs a thread's Python code in a container of its own."""
