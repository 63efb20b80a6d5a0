"""Speed and memory of one headend process on one core: `python -m bench`.

`headend` starts the process under test on a core of its own and reads from outside what it uses; `client`,
`crowd` and `flood` are the load generator, this process on another core; `measures` says what is done and
counted, and `core` what the pure core costs without sockets. Figures are wall clock and per second of the
headend's CPU; the second kind is the one to compare, since other work on the machine hardly touches it.
"""
