"""What goes over the wire, as pure code: bytes in, facts and bytes out.

Frames, headers, authentication documents, compression, DTLS, and the timers a tunnel lives by. Nothing in
here opens a socket, reads a clock, rolls dice or logs: the caller brings `now`, the bytes and the random
numbers. It may import the standard library's pure parts and the primitives of `cryptography`, and nothing
else of this project.

`transport`, `serve` and the headend call it, and so does `client_emu`: both ends of a tunnel speak one codec,
so a mistake in it shows as a failure against a real peer and not as two halves that agree with each other by
accident of having been written twice.
"""
