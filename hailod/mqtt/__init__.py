"""MQTT: producers put into the `outbox`, the `client` empties it; what comes in is read by `commands`."""
