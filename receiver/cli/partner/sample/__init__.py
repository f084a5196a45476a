"""The partner that `stagehook partner new` copies and renames: its file and its test, linted, type-checked and run."""
