"""The commands. None opens the database by itself: they are clients of the server, or start one for as long as they need it."""
