"""The sandbox: an app that plays any partner on this machine, well-behaved or not."""
