"""The room of the endpoint: what is asked for, who enhances it, and which of two models answers."""
