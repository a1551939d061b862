"""What one connection may ask of the server, and how long it may take."""

from dataclasses import dataclass, field

from registry.api.head import HeadLimits


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Seconds. `rate`: bytes in a second that a body, or an answer, must move at, once `patience` is over; 0: any."""

    head: HeadLimits = field(default_factory=HeadLimits)
    header_seconds: float = 20
    idle_seconds: float = 75  # longer than a load balancer's minute
    patience: float = 60
    rate: int = 256
    pipelined: int = 16  # requests that wait behind the one that is answered; then nothing more is read
