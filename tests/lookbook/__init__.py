"""`make emails`: every email that the service can send, with realistic data, to look at before a change goes out."""
