"""How a thousand clients train at once: their rows, their samples, their steps, and the state of it all."""
