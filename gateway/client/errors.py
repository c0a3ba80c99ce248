"""What can go wrong between a deployment and its service. Seen by who deploys, never by who scores.

::

    OperatorError
    ├── GatewayNotStarted · GatewayNotStopped · GatewaySilent
    └── ServiceError
        └── DeploymentFailed · DeploymentTimedOut · ServiceCallFailed · KeysAreOff
"""

from registry.errors import OperatorError


class GatewayNotStarted(OperatorError):
    """`reason` is the rest of the sentence, for whoever deploys."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no gateway serves this workspace, and none could be started: {reason}")


class GatewayNotStopped(OperatorError):
    def __init__(self, pid: int, seconds: float) -> None:
        super().__init__(f"the gateway (process {pid}) did not end within {seconds:g} s")


class GatewayElsewhere(OperatorError):
    def __init__(self, url: str) -> None:
        super().__init__(
            f"the gateway at {url} runs in another container, or on another machine: stop it there "
            "(docker stop CONTAINER, or docker exec CONTAINER fitserve stop)"
        )


class GatewaySilent(OperatorError):
    def __init__(self, url: str, problem: object) -> None:
        super().__init__(
            f"the gateway at {url} did not answer: {problem}; where it runs in a container, so must the command "
            "(docker exec CONTAINER fitserve …)"
        )


class ServiceError(OperatorError):
    """A deployed service is not as it should be."""


class DeploymentFailed(ServiceError):
    """Azure's sentence, and the reason."""

    def __init__(self, service: str, state: str, reason: str) -> None:
        super().__init__(
            "Service deployment polling reached non-successful terminal state, current service state: "
            f"{state}\n{service}: {reason}"
        )


class DeploymentTimedOut(ServiceError):
    def __init__(self, service: str, state: str, seconds: float) -> None:
        super().__init__(f"service {service} is {state} after {seconds:g} s; get_logs() may say why")


class ServiceCallFailed(ServiceError):
    """An answer that is not 200. `content` is its body."""

    def __init__(self, service: str, status: int, content: str) -> None:
        self.status, self.content = status, content
        super().__init__(f"service {service} answered with HTTP status {status}: {content}")


class KeysAreOff(ServiceError):
    def __init__(self, service: str) -> None:
        super().__init__(f"service {service} asks for no key; deploy or update it with auth_enabled=True")
