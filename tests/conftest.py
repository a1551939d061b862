"""What holds for every test: how long properties may search."""

from hypothesis import settings

# A property over real sockets has no deadline: the machine may be busy, and a slow example is no wrong one.
settings.register_profile("entrepot", parent=settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("entrepot")
