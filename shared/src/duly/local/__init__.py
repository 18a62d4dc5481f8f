"""What `duly up` needs on one machine: an embedded broker and child processes."""
