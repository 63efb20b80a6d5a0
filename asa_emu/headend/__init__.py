"""The headend's use cases, pure: log in, connect, resume, log off.

`login` holds the conversation that ends in a session token, `connect` turns a CONNECT into tunnel parameters,
and `headend` is the object both work on: configuration, session database, address pools. Shells in
`asa_emu.serve` bring bytes and the time and send what is decided here. May import everything below;
randomness comes in as a callable.
"""
