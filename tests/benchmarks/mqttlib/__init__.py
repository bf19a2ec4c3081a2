"""What the benchmarks of the MQTT interface share: hostile messages, a daemon with its broker, and figures."""
