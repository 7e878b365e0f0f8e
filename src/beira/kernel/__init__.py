"""What Beira decides, and nothing it does: no I/O, no clock, no randomness in this package.

Read in this order: record, collection, clock, merge, then command, query, access; then the
protocol: wire, policy, session. `limits` bounds everything, `errors` names what can go wrong.
"""
