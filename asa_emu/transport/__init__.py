"""What both programs need to reach a peer: TLS on memory BIOs, UDP in batches, certificates, a TUN device.

The headend's `serve` and the client emulator drive these; nothing here knows of sessions, policies or roles
beyond "which end of the handshake am I". It may import `asa_emu.wire`, trio, pyOpenSSL and cryptography.
"""
