"""JSON pointers (RFC 6901): where in a document something is."""


def escaped(step: object) -> str:
    """One step of a pointer (section 3)."""
    return str(step).replace("~", "~0").replace("/", "~1")
