"""All events (what actors receive) and effects (what actors send), in one file per topic; import it as a namespace.

The effect of one actor is often the event of another one, so both are here, and actors import nothing else of each
other. A docstring that begins with "To …:" names the receiver of an effect. Messages of `protocol` that come over the
signalling connection are events as they are; those that come over a link are wrapped in `PeerMessage`, with the link.
"""

from actors.events.invitation import *
from actors.events.job import *
from actors.events.link import *
from actors.events.person import *
from actors.events.room import *
from actors.events.timer import *
