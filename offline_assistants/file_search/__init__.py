"""What is found for a question, in which order, and which sentence of an answer it supports."""
