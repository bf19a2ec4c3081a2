"""The accelerator: a process of its own, and the daemon's end of it.

`spawner` starts and reaps device hosts, `host` is what runs in one, `protocol`, `tensors` and `slots` are what the two
sides share, `link` steers the life of hosts, `flight` is what is on the device, `recovery` what to do about a fault.
"""
