"""What every service stands on: settings, logs, metrics, tracing, probes, signals."""
