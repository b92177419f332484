"""The way to Google Cloud: whose token it is, in which project, and what Google's failures mean.

Used by the files of the Google types. The account is the project. To whom may not see a project Google answers as if it weren't there, so
the types read something else of it before a "not found" of theirs counts.

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

from tracker.cleanup import credentials, rest
from tracker.cleanup.calls import is_loopback
from tracker.cleanup.contract import Busy, Look, Refused, Unreachable
from tracker.cleanup.credentials import Credential
from tracker.cleanup.rest import Api, Meant, Service
from tracker.deployment import Deployment, Resource, clipped
from tracker.settings import Settings

PROVIDER = "gcp"
FILE = "GOOGLE_APPLICATION_CREDENTIALS"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# A project's id, those of a domain too ("example.com:project").
PROJECT = r"([a-z0-9-]+(\.[a-z0-9-]+)+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
LOCATION = r"[a-z]{2,16}-[a-z]{3,16}[0-9]{1,2}(-(ai[0-9])?[a-z])?"

# Google words it in two ways: reasons of an answer ("resourceNotReady"), and codes of an operation ("RESOURCE_NOT_READY").
IN_USE = r"resource_?in_?use|resource_?not_?ready"
MEANINGS = (
    Meant(
        HTTPStatus.FORBIDDEN, r"rate_?limit_?exceeded|quota_?exceeded|resource_exhausted|limit_?exceeded", "throttled"
    ),
    Meant(None, IN_USE, "busy"),
    Meant(None, "protected against deletion", "protected"),
    # conditionNotMet: a constraint of the organization, say.
    Meant(HTTPStatus.PRECONDITION_FAILED, "", "protected"),
    # As GKE words it while another operation runs.
    Meant(HTTPStatus.BAD_REQUEST, r"incompatible operation|is currently \w+ (the )?(cluster|node)", "busy"),
)


class Token(AuthBase):
    """An access token, fetched when it is needed and before it lapses: signs requests, and is a credential's text from then on."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self._google = _of(credential)

    @property
    def text(self) -> str:
        if not self._google.valid:
            self._fetch()
        return str(self._google.token)

    def redacted(self, text: str) -> str:
        """A text in which nothing of the credential is left."""
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


class Google(Service):
    """One of Google's APIs: all of them take the same credential, and have a project for an account."""

    def place_of(self, deployment: Deployment, settings: Settings, **more: str) -> dict[str, str]:
        """The project, the location and the credential that the record names. Refused, if it names two projects, or none."""
        named = {deployment.metadata[key] for key in ("project_id", "account") if deployment.metadata.get(key)}
        if len(named) > 1:
            raise Refused("bad_id", "metadata.project_id and metadata.account name two projects: which is it?")
        project = next(iter(named), "") or settings.account(PROVIDER)
        if not project:
            raise Refused("missing_id", "metadata.project_id is missing")
        if not re.fullmatch(PROJECT, project, re.ASCII):
            raise Refused("bad_id", f"{project!r} can't be the id of a project")
        location, credential = _location(deployment), deployment.metadata.get("credential", "")
        place = {"account": project, "location": location, "credential": credential, **more}
        return {key: value for key, value in place.items() if value}

    def credential(self, named: str, settings: Settings) -> Credential:
        """The secret that is `named`, or the stack's; on one machine the file that Google's own tools read."""
        file = settings.customary(FILE)
        if named or settings.credentials.get(PROVIDER) or not file:
            return credentials.find(PROVIDER, named, settings, "type", variables={})
        return Credential(_read(file), f"the file of {FILE}")


def google_api(provider: str, base_url: str) -> Google:
    """One of Google's APIs. `provider` is the key of the setting that leads it elsewhere."""
    return Google(
        provider,
        base_url,
        variables={},
        authorize=lambda _api, credential: Token(credential),
        # A token isn't for one project, and so the types ask whether it may see this one.
        whose=lambda api: api.wanted,
        said=said,
        meanings=MEANINGS,
    )


def said(body: Any) -> str:
    """Reason and message of a failure. The reason is that of Compute Engine's form, or the status of newer APIs'."""
    error = body["error"]
    reasons = [each["reason"] for each in error.get("errors") or [] if each.get("reason")]
    return f"{error.get('status') or ''} {(reasons or [''])[0]}: {error['message']}".strip()


def after(api: Api, resource: Resource, look: Look, operation: str, code: str, message: str) -> Look:
    """What a look at something comes to that is there, though an operation to delete it is over: that failed, as `code` and `message` say.

    Told once, and not of one that was there before the first look: then it is asked to go again. "In use" is no failure.
    """
    said = f"{code}: {message}" if code else message
    text = f"{operation}: {clipped(api.auth.redacted(said), rest.SAID_MAX)}"
    is_told = (
        resource.state == "unseen"
        or resource.place.get("failed") == operation
        or re.search(IN_USE, said, re.IGNORECASE) is not None
    )
    place = look.place | {"failed": operation}
    return structs.replace(look, detail=text, failure="" if is_told else text, place=place)


def is_marked(labels: Mapping[str, str], settings: Settings) -> bool:
    """Whether labels hold the ownership mark, "key=value"."""
    key, _, value = settings.google_mark.partition("=")
    return bool(key) and labels.get(key) == value


def _location(deployment: Deployment) -> str:
    """The record's region, which is a zone for what is in one. Refused, if it is missing or can't be either."""
    if not deployment.region:
        raise Refused("missing_id", "the record names no region, and only there can it be looked for")
    if not re.fullmatch(LOCATION, deployment.region, re.ASCII):
        raise Refused("bad_id", f"{deployment.region!r} can't be the name of a region or zone")
    return deployment.region


class _Role(aws.AwsSecurityCredentialsSupplier):
    """This function's own role, which a federation trusts: no address that a secret names is asked for it."""

    def get_aws_security_credentials(self, context: Any, request: Any) -> Any:
        found = boto3.Session().get_credentials()
        if found is None:
            raise Refused("credentials", "there are no AWS credentials that Google could take for a token")
        keys = found.get_frozen_credentials()
        return aws.AwsSecurityCredentials(keys.access_key, keys.secret_key, keys.token)

    def get_aws_region(self, context: Any, request: Any) -> str:
        return boto3.Session().region_name or "us-east-1"


def _of(credential: Credential) -> Any:
    """What google.auth makes of a credential: of its keys only those that are known here, and of addresses only Google's own."""
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
    """Refused, if a credential would go to anyone but Google, or this machine itself."""
    parts = urlsplit(credential.texts.get(key, ""))
    host = parts.hostname or ""
    if is_loopback(host) or (parts.scheme == "https" and host.endswith(".googleapis.com")):
        return
    raise Refused("credentials", f"{credential.source}: {key} leads to {host!r}, which isn't Google's")


def _read(file: str) -> dict[str, str]:
    """The texts of a credential's file. What else is in it, where a token would come from, isn't taken."""
    try:
        content = msgspec.json.decode(Path(file).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise Refused("credentials", f"{file}, which {FILE} names, can't be read: {type(error).__name__}") from None
    return {key: value for key, value in content.items() if isinstance(value, str)}


def _carry(source: str, url: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Any:
    """Carries what google.auth asks for a token: with limits of time, to that host alone, and without its own retries."""
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
        raise Busy(f"{where}: {status}", rest.retry_after(rest.Answer(status, None, answer.headers)))
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        said = f"{status} {_code(answer.data)}".rstrip()
        raise Refused("credentials", f"{where}: {said}: Google gives no token for {source}")
    if status != HTTPStatus.OK:
        raise Unreachable(f"{where}: {status}")
    return answer


def _code(raw: bytes) -> str:
    """The code of a failure ("invalid_grant", "PERMISSION_DENIED"): its description may quote anything."""
    try:
        said = msgspec.json.decode(raw, type=dict[str, Any]).get("error")
    except (msgspec.DecodeError, UnicodeError):
        return ""
    code = said.get("status") if isinstance(said, dict) else said
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z_]{1,64}", code) else ""
