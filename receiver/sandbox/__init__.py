"""The sandbox: an app that plays any partner, well or badly, on this machine."""
