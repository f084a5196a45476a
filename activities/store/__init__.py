"""The store: the database that web and worker share, its tables and migrations, and the table of calls."""
