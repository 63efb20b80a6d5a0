"""The administrator's console, as pure text: a line in, an answer and the next prompt out.

`shell` holds one console session (modes, passwords, confirmations, paging), `commands` the table of what can
be typed outside configuration mode; the `show_…` modules and `logoff` are what those commands say. Telnet,
the management API and tests all drive the same `CliSession`.
"""
