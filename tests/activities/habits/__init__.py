"""Partners' files in the manner of seven providers, each with habits of its own; `docs/partners.md` links here."""
