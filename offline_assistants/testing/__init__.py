"""Fakes that ship: the ports, scripted."""
