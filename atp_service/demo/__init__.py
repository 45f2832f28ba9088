"""A small retailer as a demonstration: its tills, warehouse, buyers and shoppers.

It uses the service as any customer would: facts over NATS, promises and master data over HTTP.
It keeps no state of its own but reads it from the service, so it can be stopped and started at any
time.
"""
