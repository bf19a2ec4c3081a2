"""The soak: what goes wrong when (`faults`), the engine under load (`rig`), what is counted (`sample`) and what that
means (`growth`). `tests.benchmarks.soak` is the program.
"""
