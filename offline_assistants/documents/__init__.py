"""Files into text, text into chunks, texts into vectors: the Documents port and its child processes."""
