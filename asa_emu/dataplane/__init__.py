"""The data plane: packets go in from tunnels and come out at other tunnels, the inside network or a TUN.

`hub.py` checks and routes (the hot path); `inside.py` is the network behind the headend, with hosts that
answer pings, UDP echo and, through `tcp_responder.py`, a little TCP; `reassembly.py` and `per_source.py`
hold what a peer makes them remember, within bounds. Nothing here knows of sessions, tunnels or clocks: a
`Port` stands for a session, and every packet is judged by its own bytes.
"""

from asa_emu.dataplane.hub import Hub, Port
from asa_emu.dataplane.inside import InsideNetwork

__all__ = ["Hub", "InsideNetwork", "Port"]
