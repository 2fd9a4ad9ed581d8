"""The process itself: device and threads, signals, random keys, memory."""
