"""duly's monitor: shows how every queue, task, schedule and server goes, and puts it right."""
