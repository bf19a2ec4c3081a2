"""The fault matrix: what breaks (`rows_*`), on what stage (`trial`), who watches (`recorder`) and judges (`checker`).

`tests.benchmarks.faults` is the program.
"""
