"""One network in this process: `train` it, `measure` its speed, sample from it."""
