"""File content into canonical text with its sections: one file per kind of document. Runs in the parser child only."""
