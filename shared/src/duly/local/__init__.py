"""What `duly up` needs on one machine: the embedded broker and the child processes."""
