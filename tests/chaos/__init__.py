"""A random run of every fault at once, and a referee who knows what really happened (docs/about/chaos.md)."""
