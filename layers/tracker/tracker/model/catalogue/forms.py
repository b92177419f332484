"""The forms that several platforms share.

No form takes text that a shell, a URL or an SDK could misread: a leading "-", "..", blanks, "%", "?", "#"; and a form takes a
slash only if the provider's own ids have it.
"""

from tracker.model.catalogue.vocabulary import Form

NO_DOTS = r"(?!.*\.\.)"
UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
UUID_EXAMPLE = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f"
NUMBER = r"[1-9][0-9]{0,18}"
_NAME = NO_DOTS + r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
_IPV4 = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_IPV6 = r"(?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39}"
_DNS = r"(?!.{254})[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*"
_HOST = rf"(?:{_DNS}|{_IPV6})"
HOST_IN_URL = rf"(?:{_DNS}|\[{_IPV6}\])"
PORT = r"[1-9][0-9]{0,4}"
USER = r"[A-Za-z_][A-Za-z0-9._-]{0,31}"
_FOLDERS = r"(?:/(?!\.\.?/)[A-Za-z0-9._][A-Za-z0-9._-]{0,254})*"
# Docker: `[a-zA-Z0-9][a-zA-Z0-9_.-]` for names; ids are hexadecimal.
DOCKER_NAME = NO_DOTS + "[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
# Secrets Manager, CreateSecret: letters, digits and /_+=.@- in a name; or the whole ARN.
_SECRET = NO_DOTS + r"/?[A-Za-z0-9][A-Za-z0-9/_+=.@:-]{0,511}"

NAME = Form(_NAME, "blueprint-1")
ADDRESS = Form(_HOST, "203.0.113.7")
HOST = Form(_HOST, "host-1.example.org", guard="host")

# The metadata that every type may have.
COMMON = {
    "account": Form(NO_DOTS + r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}", "team-1"),
    "credential": Form(_SECRET, "tracker/vultr/team-1", guard="secret"),
    "delete_dependents": Form("all", "all"),
    # It signs the calls of the record's webhook, instead of the stack's own secret.
    "webhook_secret": Form(_SECRET, "tracker/webhooks/team-1", guard="webhook_secret"),
}


def secret(example: str) -> Form:
    """Return the form of the name of a secret, which the settings must allow."""
    return Form(_SECRET, example, guard="secret")


def path(ending: str) -> str:
    """Return the pattern of a plain absolute path that ends with the pattern `ending`."""
    return rf"(?!.{{1025}}){NO_DOTS}{_FOLDERS}/[A-Za-z0-9_][A-Za-z0-9._-]{{0,254}}{ending}"


def machine(form: Form, **more: Form) -> dict[str, Form]:
    """Return the ids of a rented machine: `instance_id` with its form, the ids that the Rust tracker adds, and `more`.

    The Rust tracker often writes the id as `instance_name` too.
    """
    return {
        "instance_id": form,
        "instance_name": Form(f"(?:{form.pattern})|(?:{_NAME})", form.example),
        "public_ip": ADDRESS,
        **more,
    }


def uuid(kind: str, *, many: bool = False) -> Form:
    """Return the form of an id that is a UUID."""
    return Form(UUID, UUID_EXAMPLE, kind=kind, many=many)


def number(kind: str, *, many: bool = False) -> Form:
    """Return the form of an id that is a positive number of at most 19 digits."""
    return Form(NUMBER, "4012345", kind=kind, many=many)


def ipv4(kind: str) -> Form:
    """Return the form of resources that are named by their IPv4 addresses."""
    return Form(_IPV4, "203.0.113.7", kind=kind, many=True)


def opaque(kind: str, example: str, *, many: bool = False) -> Form:
    """Return the form of an id whose form the provider doesn't document."""
    return Form(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}", example, kind=kind, many=many)
