"""A request becomes a task: clients, flows, the outbox and the ticks of schedules."""
