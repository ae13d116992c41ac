"""The parts of :class:`secretbridge.testing.BackendContract`: rules by what they are about."""
