"""The headend's shells: they own the sockets, call the pure core, and send what it answers.

`dispatcher` waits for all sockets in one task, `connection` is one TLS connection from handshake to close,
`https` the requests on it, `tunnels` what a session's tunnels carry, `dtls` the UDP port, `timekeeper` the
deadlines, `management` the API. May import everything below; called by `asa_emu.app` alone.
"""
