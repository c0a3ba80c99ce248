"""`azureml.core.webservice`: deployed services."""

import json

from azureml._fitserve.client import call
from azureml._fitserve.kinds import class_of, kind
from azureml._fitserve.texts import as_texts, as_time, given, ids_of
from azureml._fitserve.unsupported import Answering, refuse, unsupported
from azureml.exceptions import WebserviceException

_ON_LOOPBACK = "put a proxy that speaks TLS before the gateway"


class DeploymentConfiguration(Answering):
    """Deployment settings; `described` is the description for fitserve."""

    def __init__(self, compute_type, described):
        self.compute_type = compute_type
        self._given = described

    def _described(self):
        return dict(self._given, compute_type=self.compute_type)


class ContainerResourceRequirements(Answering):
    """Limits of all processes of a service together."""

    def __init__(self, facts):
        limits = facts["containerResourceRequirements"]
        self.cpu, self.memory_in_gb = limits["cpu"], limits["memoryInGB"]

    def serialize(self):
        return {"cpu": self.cpu, "memoryInGB": self.memory_in_gb}


@kind("service")
class Webservice(Answering):
    """A deployed service. `Webservice(workspace, name)` returns an object of the class that it was deployed as."""

    def __new__(cls, workspace=None, name=None, **kwargs):
        if workspace is None:  # by copy or pickle
            return object.__new__(cls)
        return Webservice._of(workspace, call("service.get", workspace=workspace._facts, name=name))

    def __init__(self, workspace, name, **kwargs):
        pass

    @staticmethod
    def _of(workspace, facts):
        cls = {"AKS": AksWebservice, "Local": LocalWebservice}.get(facts["computeType"], AciWebservice)
        service = object.__new__(cls)
        service.workspace, service._facts, service._inference = workspace, facts, None
        return service

    @staticmethod
    def list(
        workspace,
        compute_type=None,
        image_name=None,
        image_id=None,
        model_name=None,
        model_id=None,
        tags=None,
        properties=None,
        image_digest=None,
    ):
        found = call(
            "service.list",
            workspace=workspace._facts,
            compute_type=compute_type,
            model_name=model_name,
            model_id=model_id,
            tags=tags,
            properties=properties,
        )
        return [Webservice._of(workspace, facts) for facts in found]

    @staticmethod
    def deploy_from_model(workspace, name, models, image_config=None, deployment_config=None, **kwargs):
        return class_of("model").deploy(workspace, name, models, deployment_config=deployment_config)

    name = property(lambda self: self._facts["name"])
    compute_type = property(lambda self: self._facts["computeType"])
    state = property(lambda self: self._facts["state"])
    error = property(lambda self: self._facts["error"])
    scoring_uri = property(lambda self: self._facts["scoringUri"])
    swagger_uri = property(lambda self: self._facts["swaggerUri"])
    auth_enabled = property(lambda self: self._facts["authEnabled"])
    container_resource_requirements = property(lambda self: ContainerResourceRequirements(self._facts))
    token_auth_enabled = property(lambda self: False)
    tags = property(lambda self: dict(self._facts["tags"]))
    properties = property(lambda self: dict(self._facts["properties"]))
    description = property(lambda self: self._facts["description"])
    created_time = property(lambda self: as_time(self._facts["createdTime"]))
    updated_time = property(lambda self: as_time(self._facts["updatedTime"]))
    image_id = property(lambda self: None)

    @property
    def models(self):
        named = self._facts["models"]
        return [class_of("model")(self.workspace, **{"id" if ":" in model else "name": model}) for model in named]

    def serialize(self):
        return dict(self._facts)

    def _call(self, op, **args):
        return call("service." + op, workspace=self.workspace._facts, name=self.name, **args)

    def wait_for_deployment(self, show_output=False, timeout_sec=None):
        """Wait until the service is healthy.

        Raises:
            WebserviceException: it failed; gives the reason.
        """
        try:
            self._facts = self._call("wait", show_output=bool(show_output), timeout_sec=timeout_sec)
        except WebserviceException:
            self._facts = self._call("get")
            raise

    def update_deployment_state(self):
        self._facts = self._call("get")

    def run(self, input_data):
        """Post `input_data` and return the answer as Python values. Text and bytes are sent unchanged; a whole body, rows, an
        array or a DataFrame as JSON.

        Raises:
            WebserviceException: the answer is not 200; with its status, headers and content.
        """
        uri = self.scoring_uri
        if uri is None:
            self.update_deployment_state()
            uri = self.scoring_uri
        if uri is None:
            raise WebserviceException("{} has no scoring uri: {}".format(self.name, self.error))
        return json.loads(self._post(uri, _body_of(input_data)).decode("utf-8"))

    def _post(self, uri, body, key=None):
        """Post without a key first; if one is required, get it from fitserve, as Azure's SDK does."""
        # Late: start-up time of every script that imports the SDK.
        from urllib.error import HTTPError, URLError
        from urllib.request import ProxyHandler, Request, build_opener

        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = "Bearer " + key
        opener = build_opener(ProxyHandler({}))  # it is on this machine, so ignore proxies
        try:
            with opener.open(Request(uri, body, headers), timeout=300) as answer:  # noqa: S310
                return answer.read()
        except HTTPError as error:
            found = self._call("key") if error.code == 401 and key is None else None
            if found is not None:
                return self._post(uri, body, found)
            raise WebserviceException(
                "Received bad response from service {}\nResponse Code: {}\nHeaders: {}\nContent: {!r}".format(
                    self.name, error.code, dict(error.headers), error.read()
                )
            ) from None
        except URLError as error:
            raise WebserviceException("service {} cannot be reached at {}: {}".format(self.name, uri, error)) from None

    def get_logs(self, num_lines=5000, init=False):
        return self._call("logs", num_lines=int(num_lines))

    def get_keys(self):
        """Primary and secondary key; None for a key set by hand, of which only the hash is stored."""
        return tuple(self._call("keys"))

    def regen_key(self, key, set_key=None):
        self._call("regen_key", key=key, set_key=set_key)

    def get_token(self):
        return refuse("Webservice.get_token", "services are called with keys, see get_keys")

    def get_access_token(self):
        return self.get_token()

    def update(self, *args, **kwargs):
        """Change the given settings. No request is lost while another model takes over."""
        if args:
            raise WebserviceException("update takes its arguments by name")
        models, inference = kwargs.get("models"), kwargs.get("inference_config")
        changes = given(
            models=None if models is None else ids_of(models),
            inference=None if inference is None else inference._described(self.workspace),
        )
        keys = {key: value for key, value in kwargs.items() if key not in ("primary_key", "secondary_key")}
        self._facts = self._call("update", **dict(_configuration(keys), **changes))

    def add_tags(self, tags):
        self.update(tags=dict(self.tags, **tags))

    def remove_tags(self, tags):
        gone = [tags] if isinstance(tags, str) else list(tags)
        self.update(tags={key: value for key, value in self.tags.items() if key not in gone})

    def add_properties(self, properties):
        self.update(properties=properties)

    def delete(self, **kwargs):
        """The model stays registered."""
        self._call("delete")

    def __repr__(self):
        return "{}(workspace={!r}, name={}, image_id=None, compute_type={}, state={}, scoring_uri={}, tags={})".format(
            type(self).__name__, self.workspace, self.name, self.compute_type, self.state, self.scoring_uri, self.tags
        )


class AciWebservice(Webservice):
    """Requires a key only with `auth_enabled`."""

    @staticmethod
    def deploy_configuration(
        cpu_cores=None,
        memory_gb=None,
        tags=None,
        properties=None,
        description=None,
        location=None,
        auth_enabled=None,
        ssl_enabled=None,
        enable_app_insights=None,
        ssl_cert_pem_file=None,
        ssl_key_pem_file=None,
        ssl_cname=None,
        dns_name_label=None,
        primary_key=None,
        secondary_key=None,
        collect_model_data=None,
        **kwargs,
    ):
        if ssl_enabled:
            refuse("ssl_enabled", _ON_LOOPBACK)
        return DeploymentConfiguration("ACI", _configuration(locals()))


class AksWebservice(Webservice):
    """Requires a key unless `auth_enabled=False`."""

    @staticmethod
    def deploy_configuration(
        cpu_cores=None,
        memory_gb=None,
        tags=None,
        properties=None,
        description=None,
        auth_enabled=None,
        token_auth_enabled=None,
        primary_key=None,
        secondary_key=None,
        **kwargs,
    ):
        """Options of a cluster, such as autoscaling, are accepted and ignored."""
        if token_auth_enabled:
            refuse("token_auth_enabled", "services are called with keys")
        return DeploymentConfiguration("AKS", _configuration(locals()))


class LocalWebservice(Webservice):
    """Like the others, since all services are on this machine. Its states are lower-case, as Azure's are."""

    _STATES = {"Healthy": "running", "Transitioning": "deploying", "Unhealthy": "failed", "Failed": "failed"}

    @staticmethod
    def deploy_configuration(port=None, cpu_cores=None, memory_gb=None):
        """`port` applies if a gateway has to be started; a running one keeps its own. The limits are fitserve's addition."""
        return DeploymentConfiguration("Local", dict(_configuration(locals()), **given(port=port)))

    @property
    def state(self):
        return self._STATES.get(self._facts["state"], "unknown")

    @property
    def port(self):
        uri = self.scoring_uri or ""
        return int(uri.split("/")[2].rpartition(":")[2]) if uri else None

    def reload(self, wait=False):
        """Deploy the scoring script again, if this object deployed one."""
        if self._inference is not None:
            self.update(inference_config=self._inference)
        if wait:
            self.wait_for_deployment()

    def get_keys(self):
        raise NotImplementedError("Local webservices have no keys")

    def regen_key(self, key, set_key=None):
        raise NotImplementedError("Local webservices have no keys")

    def get_token(self):
        raise NotImplementedError("Local webservices have no tokens")

    def deploy_to_cloud(self, *args, **kwargs):
        return refuse("LocalWebservice.deploy_to_cloud", "the service is deployed already")

    def delete(self, delete_cache=True, delete_image=False, delete_volume=True):
        self._call("delete")


AksEndpoint = unsupported("AksEndpoint", "deploy each version as a service of its own")


def _configuration(arguments):
    """Description for fitserve, from the arguments of Azure's method by name. None is left out."""
    get = arguments.get
    return given(
        cpu=_number(get("cpu_cores")),
        memory_in_gb=_number(get("memory_gb")),
        tags=as_texts(get("tags")),
        properties=as_texts(get("properties")),
        **{key: get(key) for key in ("description", "auth_enabled", "primary_key", "secondary_key")},
    )


def _number(value):
    """
    Raises:
        WebserviceException
    """
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise WebserviceException("Invalid configuration: {!r} is not a number".format(value)) from None


def _body_of(given):
    """The body as bytes: rows, arrays and frames under ``data``; a dict is a whole body, except one of columns and data."""
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return given.encode("utf-8")
    if hasattr(given, "columns") and hasattr(given, "values"):
        given = {"data": {"columns": [str(name) for name in given.columns], "data": given.values.tolist()}}
    elif not isinstance(given, dict):
        given = {"data": given.tolist() if hasattr(given, "tolist") else given}
    elif set(given) == {"columns", "data"}:
        given = {"data": given}
    return json.dumps(given, default=str).encode("utf-8")
