"""Deliveries: every request to a callback route, kept once and used four times.

The same record is an entry of the inbox while Temporal cannot take the callback, the capture that an engineer looks at,
the input of a webhook replay, and a fixture of a test.

Each module builds on the ones before it: delivery (the record) < capture (made of a request) < schema < queries (the
SQL) < database < queue < statements (run the SQL), writer (its thread) < judging < inbox (the receiver's hot path),
archive (the operator's view).
"""
