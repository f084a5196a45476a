"""Sending: from the store to Temporal. A delivery that is kept becomes the signal of its run."""
