"""A reward model on another machine: the server, the wire format and the client."""
