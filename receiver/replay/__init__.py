"""Webhook replay: send a captured delivery again, to the run it was for or to a stand-in."""
