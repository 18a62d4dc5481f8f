"""What every service is built on: settings, logs, metrics, probes, signals."""
