"""The proofs. A package only so that any test can import the harness for real peers as `tests.peers`."""
