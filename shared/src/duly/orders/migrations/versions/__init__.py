"""One file a revision. They are applied in the order of their `down_revision`."""
