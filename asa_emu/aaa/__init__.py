"""Verdicts on who somebody is: passwords and one-time codes against what the configuration stores.

Everything here is given plain strings and a time, and answers; it keeps no state between calls, so what must
be remembered (the last one-time code a user spent) is handed back to the caller. Users, groups and policies
are the configuration's; the forms that ask are the headend's.
"""
