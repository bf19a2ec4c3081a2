"""The demo: the daemon itself on rendered cameras and a simulated device, and what it publishes, told as it comes."""
