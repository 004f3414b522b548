"""JSON pointers (RFC 6901): where in a document something is."""


def escaped(step: object) -> str:
    """One step of a pointer (section 3)."""
    return str(step).replace("~", "~0").replace("/", "~1")


def steps(pointer: str) -> list[str]:
    """The steps of a pointer, unescaped (section 4)."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
