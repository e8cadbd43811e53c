"""What the API's objects are and how a run moves. No I/O, no clock, no await."""
