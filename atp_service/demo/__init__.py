"""A small retailer to look at: its tills, warehouse, buyers and shoppers, as a start for `atp up`.

It uses the service as any customer would: facts over NATS, promises and master data over HTTP.
It keeps no state of its own. What it needs to know it asks the service, so it can be stopped and
started at any time.
"""
