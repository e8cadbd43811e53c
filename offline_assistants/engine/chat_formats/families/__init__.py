"""What each family of models writes, as data: one small file per family."""
