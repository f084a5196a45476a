"""Deliveries: every request to a callback route, kept once and used four times.

One record is the inbox that holds a callback while Temporal cannot take it, the capture that an engineer looks at, the
input of a webhook replay, and the fixture of a test.

delivery (the record) < capture (made of a request) < schema < database < statements, writer < inbox (the receiver's hot
path), archive (the operator's view).
"""
