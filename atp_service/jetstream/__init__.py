"""NATS JetStream: the stream of events, its pull consumer, one publisher."""
