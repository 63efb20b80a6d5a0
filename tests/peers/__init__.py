"""Real programs as test peers: network namespaces, openconnect, ocserv, and a user-space end for a tunnel."""
