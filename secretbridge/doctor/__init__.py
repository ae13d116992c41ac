"""``secretbridge doctor``: what of this machine and this configuration weakens the protection.

:mod:`.collect` looks at everything once and returns :class:`.facts.Facts`; the checks are functions of
those facts and of nothing else, so that each can be shown a machine that it should complain about.
What could not be looked at is told as skipped, and never counted as good.
"""
