"""The parts of the broker, one job each; :mod:`secretbridge.broker` puts them together."""
