"""isthmus and its peers: the same network, the same rows, one process and one thread each."""
