"""The control thread: one inbox, and all decisions.

`inbox` is what it reads, `loop` what it does with it, `cameras` keeps the camera workers, `commands` obeys what comes
over MQTT, `transactions` are the changes that take more than one step, `reports` says over MQTT how things stand.
Nothing here blocks for long: whatever takes time is started, and its end is an event.
"""
