"""A model of one client and one worker: two tables, the sessions, and two first-in-first-out channels for each link.

It is explored breadth-first, in memory and without a clock. What surrounds the tables (the link manager, the job
manager, the transfers, the room) is simulated here, as little of it as possible: each thing that takes time there is a
move of its own here, so that it happens in every order. A time-out ends when nothing else can happen. What the outside
may do a limited number of times is a `Budget`: break a link at any point, interrupt the client, drain the worker, fail,
let a time-out end early.

`explore` follows every move from a first world. It raises when a table gets an event that cannot happen, and returns
the worlds and the moves between them, for the rules in `rules.py`.
"""
