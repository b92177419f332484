"""Google Cloud's APIs: whose token they are called with, in which project, and what Google's errors mean.

Used by the files of the Google types. The account is the project. Google answers a credential that may not see a project as if nothing were
there, so the types read something else of the project before their own "not found" counts.

A credential is a secret that holds the keys of a service account's key file, or those of a configuration for workload identity federation
with AWS (google.auth's `service_account` and `external_account`); on one machine the file that GOOGLE_APPLICATION_CREDENTIALS names.
"""

import re
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import msgspec
import requests
from google.auth import aws
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from msgspec import structs
from requests.auth import AuthBase

from tracker.cleanup.core.contract import Busy, Observation, Refused, Unreachable
from tracker.cleanup.transport.credentials import Credential
from tracker.cleanup.transport.loopback import is_loopback
from tracker.cleanup.transport.rest import client as rest
from tracker.cleanup.transport.rest.client import ERROR_TEXT_MAX, WHILE_BUSY, Endpoint, ErrorRule, Response, retry_after
from tracker.cleanup.transport.rest.provider import Api, Provider
from tracker.model.deployment import Deployment, Resource, clipped
from tracker.model.settings import Settings

FILE = "GOOGLE_APPLICATION_CREDENTIALS"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# A project's id, those of a domain too ("example.com:project").
PROJECT = r"([a-z0-9-]+(\.[a-z0-9-]+)+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
LOCATION = r"[a-z]{2,16}-[a-z]{3,16}[0-9]{1,2}(-(ai[0-9])?[a-z])?"

# Google words it in two ways: reasons of an answer ("resourceNotReady"), and codes of an operation ("RESOURCE_NOT_READY").
IN_USE = r"resource_?in_?use|resource_?not_?ready"
_ERROR_RULES = (
    ErrorRule(
        HTTPStatus.FORBIDDEN, r"rate_?limit_?exceeded|quota_?exceeded|resource_exhausted|limit_?exceeded", "throttled"
    ),
    ErrorRule(None, IN_USE, "busy"),
    ErrorRule(None, "protected against deletion", "protected"),
    *WHILE_BUSY,
    # conditionNotMet: a constraint of the organization, say.
    ErrorRule(HTTPStatus.PRECONDITION_FAILED, "", "protected"),
    # As GKE words it while another operation runs.
    ErrorRule(HTTPStatus.BAD_REQUEST, r"incompatible operation|is currently \w+ (the )?(cluster|node)", "busy"),
)


class Token(AuthBase):
    """An access token, fetched when it is needed and before it lapses: signs requests, and is a credential's text from then on."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self._google = _of(credential)

    @property
    def text(self) -> str:
        """The token. Raises Refused or Unreachable if Google gives none."""
        if not self._google.valid:
            self._fetch()
        return str(self._google.token)

    def redacted(self, text: str) -> str:
        """Return the text without anything of the credential."""
        return self._credential.redacted(text)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.text}"
        return request

    def _fetch(self) -> None:
        source = self._credential.source
        try:
            # Not `before_request`, which would begin to look up more in a thread of its own.
            self._google.refresh(partial(_carry, source))
        except (GoogleAuthError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unreachable(f"what Google answers to {source} is no token: {type(error).__name__}") from None
        self._credential.texts["access_token"] = str(self._google.token)


class Google(Provider):
    """One of Google's APIs. All of them take the same credential, and the account is a project."""

    def place_of(self, deployment: Deployment, settings: Settings, **more: str) -> dict[str, str]:
        """Return the project, the location and the credential that the record names.

        Raises Refused if it names two projects or none, or what can't be one.
        """
        named = {deployment.metadata[key] for key in ("project_id", "account") if deployment.metadata.get(key)}
        if len(named) > 1:
            raise Refused("bad_id", "metadata.project_id and metadata.account name two projects: which is it?")
        project = next(iter(named), "") or settings.account(self.name)
        if not project:
            raise Refused("missing_id", "metadata.project_id is missing")
        if not re.fullmatch(PROJECT, project, re.ASCII):
            raise Refused("bad_id", f"{project!r} can't be the id of a project")
        location, credential = _location(deployment), deployment.metadata.get("credential", "")
        place = {"account": project, "location": location, "credential": credential, **more}
        return {key: value for key, value in place.items() if value}

    def credential(self, named: str, settings: Settings) -> Credential:
        """Return the secret that is `named`, else the stack's own; on one machine the file that Google's own tools read."""
        file = settings.fallback_env(FILE)
        if named or settings.credentials.get(self.name) or not file:
            return super().credential(named, settings)
        return Credential(_read(file), f"the file of {FILE}")


def google_api(name: str, base_url: str) -> Google:
    """Return one of Google's APIs. `name` is the key of the setting that leads it elsewhere."""
    return Google(
        name="gcp",
        endpoint=Endpoint(name=name, base_url=base_url, error_text=error_text, error_rules=_ERROR_RULES),
        authorize=lambda _api, credential: Token(credential),
        # A token isn't for one project, and so the types ask whether it may see this one.
        identify_account=lambda api: api.expected_account,
        variables={},
        needed=("type",),
    )


def error_text(body: Any) -> str:
    """Return reason and message of an error. Compute Engine has a reason, newer APIs a status."""
    error = body["error"]
    reasons = [each["reason"] for each in error.get("errors") or [] if each.get("reason")]
    return f"{error.get('status') or ''} {(reasons or [''])[0]}: {error['message']}".strip()


def after(api: Api, resource: Resource, look: Observation, operation: str, code: str, message: str) -> Observation:
    """Return what it means that a resource is there, though an operation to delete it is over: that failed, as `code` and `message` say.

    A failure is reported once, and not if it was before the first look: then the deletion is requested again. "In use" is no failure.
    """
    said = f"{code}: {message}" if code else message
    text = f"{operation}: {clipped(api.authorization.redacted(said), ERROR_TEXT_MAX)}"
    is_told = (
        resource.state == "unseen"
        or resource.place.get("failed") == operation
        or re.search(IN_USE, said, re.IGNORECASE) is not None
    )
    place = look.place | {"failed": operation}
    return structs.replace(look, detail=text, failure="" if is_told else text, place=place)


def has_label(labels: Mapping[str, str], mark: str) -> bool:
    """Return whether labels hold the ownership mark, "key=value"."""
    key, _, value = mark.partition("=")
    return bool(key) and labels.get(key) == value


def _location(deployment: Deployment) -> str:
    """Return the record's region, which is a zone for what is in one. Raises Refused if it is missing or can't be either."""
    if not deployment.region:
        raise Refused("missing_id", "the record names no region, and only there can it be looked for")
    if not re.fullmatch(LOCATION, deployment.region, re.ASCII):
        raise Refused("bad_id", f"{deployment.region!r} can't be the name of a region or zone")
    return deployment.region


class _Role(aws.AwsSecurityCredentialsSupplier):
    """Take this function's own role, which a federation trusts; no address that a secret names is asked for one."""

    def get_aws_security_credentials(self, context: Any, request: Any) -> Any:
        found = boto3.Session().get_credentials()
        if found is None:
            raise Refused("credentials", "there are no AWS credentials that Google could take for a token")
        keys = found.get_frozen_credentials()
        return aws.AwsSecurityCredentials(keys.access_key, keys.secret_key, keys.token)

    def get_aws_region(self, context: Any, request: Any) -> str:
        return boto3.Session().region_name or "us-east-1"


def _of(credential: Credential) -> Any:
    """Return google.auth's credential. Of the keys only known ones are taken, of addresses only Google's own."""
    texts, kind = credential.texts, credential.texts.get("type", "")
    try:
        match kind:
            case "service_account":
                _trusted(credential, "token_uri")
                known = ("client_email", "private_key", "private_key_id", "token_uri")
                info = {key: text for key, text in texts.items() if key in known}
                return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
            case "external_account":
                return _federated(credential)
    except (GoogleAuthError, ValueError, KeyError, TypeError):
        # Without its cause, which may quote a key.
        raise Refused("credentials", f"{credential.source} isn't a whole {kind} of Google's") from None
    raise Refused("credentials", f"{credential.source}: {kind!r} is no type of credential that is taken here")


def _federated(credential: Credential) -> Any:
    texts = credential.texts
    if texts["subject_token_type"] != "urn:ietf:params:aws:token-type:aws4_request":
        raise Refused("credentials", f"{credential.source}: only AWS is taken as the source of a federated credential")
    for key in ("token_url", "service_account_impersonation_url"):
        if key in texts:
            _trusted(credential, key)
    return aws.Credentials(  # type: ignore[no-untyped-call]
        audience=texts["audience"],
        subject_token_type=texts["subject_token_type"],
        token_url=texts["token_url"],
        service_account_impersonation_url=texts.get("service_account_impersonation_url"),
        aws_security_credentials_supplier=_Role(),
        scopes=[SCOPE],
    )


def _trusted(credential: Credential, key: str) -> None:
    """Raise Refused if a credential would go to anyone but Google, or this machine itself."""
    parts = urlsplit(credential.texts.get(key, ""))
    host = parts.hostname or ""
    if is_loopback(host) or (parts.scheme == "https" and host.endswith(".googleapis.com")):
        return
    raise Refused("credentials", f"{credential.source}: {key} leads to {host!r}, which isn't Google's")


def _read(file: str) -> dict[str, str]:
    """Return the texts of a credential's file. Whatever else it says of where a token comes from isn't taken."""
    try:
        content = msgspec.json.decode(Path(file).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise Refused("credentials", f"{file}, which {FILE} names, can't be read: {type(error).__name__}") from None
    return {key: value for key, value in content.items() if isinstance(value, str)}


def _carry(source: str, url: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Any:
    """Carry google.auth's requests for a token: with limits of time, to that host alone, and without its own retries."""
    where = f"{method} {urlsplit(url).hostname}{urlsplit(url).path}"
    with requests.Session() as session:
        session.trust_env = False
        timeout = (rest.CONNECT_TIMEOUT, rest.READ_TIMEOUT)
        try:
            answer = Request(session)(url, method, body, headers, timeout, allow_redirects=False)
        except TransportError as error:
            raise Unreachable(f"{where}: {type(error.__cause__).__name__}") from None
    status = answer.status
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Busy(f"{where}: {status}", retry_after(Response(status, None, answer.headers)))
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        said = f"{status} {_code(answer.data)}".rstrip()
        raise Refused("credentials", f"{where}: {said}: Google gives no token for {source}")
    if status != HTTPStatus.OK:
        raise Unreachable(f"{where}: {status}")
    return answer


def _code(raw: bytes) -> str:
    """Return the code of an error ("invalid_grant", "PERMISSION_DENIED"), without its description, which may quote anything."""
    try:
        said = msgspec.json.decode(raw, type=dict[str, Any]).get("error")
    except (msgspec.DecodeError, UnicodeError):
        return ""
    code = said.get("status") if isinstance(said, dict) else said
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z_]{1,64}", code) else ""
