"""The forked process: the zygote that forks it, and the loop that reads a frame, decides, and writes a frame."""
