"""What is refused of policies and runs: the messages say what to do."""


class LifecycleRefused(Exception):
    """The root: never raised itself."""


class PolicyUnknown(LifecycleRefused):
    def __init__(self, repository: str) -> None:
        super().__init__(
            f"the repository {repository} has no lifecycle policy:"
            f" `entrepot lifecycle set {repository} FILE` gives it one"
        )


class PolicyChanged(LifecycleRefused):
    """Since the run was planned."""

    def __init__(self, run_id: int, repository: str) -> None:
        super().__init__(
            f"run {run_id} was planned by a policy that {repository} has no more:"
            f" `entrepot lifecycle run --repository {repository}` plans again"
        )


class RunUnknown(LifecycleRefused):
    def __init__(self, run_id: int) -> None:
        super().__init__(f"there is no run {run_id}: `entrepot lifecycle runs` shows those there are")


class RunEnded(LifecycleRefused):
    """There is nothing to apply, or nothing to undo."""
