"""The console in a real browser: `make browser` installs it, and runs these tests."""
