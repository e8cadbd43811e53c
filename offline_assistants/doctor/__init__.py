"""What is missing or broken on this machine, and the command that mends it."""
