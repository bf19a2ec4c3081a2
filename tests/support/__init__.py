"""Helpers that several tests share: real peers as child processes, waiting for conditions, the leak guard."""
