"""The machine: files read with care, signals, processes, random keys, TensorFlow's start."""
