"""Photos: sets, streams, shards, manifests, and preparing them."""
