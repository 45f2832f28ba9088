"""ATP Service: how many units can be sold, here, now, on this channel; and the promise kept."""

__version__ = "0.2.0.dev0"
