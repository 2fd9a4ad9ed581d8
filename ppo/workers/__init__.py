"""One worker or many: the interface, collectives, messages, the starter."""
