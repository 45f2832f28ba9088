"""The event stream beside a Redis that lost writes or may have: from where it is replayed."""
