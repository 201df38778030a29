"""A hospital's record, from the files it exports to notes with labels."""
