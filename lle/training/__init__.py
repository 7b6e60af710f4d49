"""The loop and what it consists of; knows torch, not where it runs."""
