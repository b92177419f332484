"""This is how an API server is reached, and what its answers mean: kubeconfigs, certificates, and everything that isn't "gone"."""

import base64
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.certificates import Authority
from tests.kubernetes_api import ADMIN, KubernetesApi, kubeconfig, status
from tests.standin import Fault, Reply
from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.transport.kubernetes import cluster as kubernetes_cluster
from tracker.cleanup.transport.kubernetes.cluster import Access, Cluster, NotServed, access_of

SERVER = "https://cluster.example.org:6443"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
DATA = base64.b64encode(PEM.encode()).decode()
POD = "/api/v1/namespaces/default/pods/web"


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    with KubernetesApi() as found:
        yield found


@pytest.fixture
def cluster(api: KubernetesApi) -> Iterator[Cluster]:
    with Cluster(Access(api.url, token=ADMIN)) as found:
        yield found


def changed(part: str, **changes: Any) -> str:
    """A kubeconfig with other keys in its `cluster`, `user` or `context`; None takes one away."""
    config = yaml.safe_load(kubeconfig({"blue": SERVER}))
    (entry,) = config[f"{part}s"]
    entry[part] = {key: value for key, value in (entry[part] | changes).items() if value is not None}
    return yaml.safe_dump(config)


# Kubeconfigs


def test_a_context_leads_to_its_server_with_its_token() -> None:
    text = kubeconfig({"blue": SERVER, "green": "https://[2001:db8::1]/k8s/clusters/c-1"})
    assert access_of(text) == Access(SERVER, token=ADMIN)
    assert access_of(text, "green").server == "https://[2001:db8::1]/k8s/clusters/c-1"


def test_authority_certificate_and_key_stand_in_it_in_base64() -> None:
    text = changed("user", **{"token": None, "client-certificate-data": DATA, "client-key-data": DATA})
    config = yaml.safe_load(text)
    config["clusters"][0]["cluster"]["certificate-authority-data"] = DATA
    access = access_of(yaml.safe_dump(config), "blue")
    assert (access.ca, access.certificate, access.key, access.token) == (PEM, PEM, PEM, "")


def test_this_machines_own_may_name_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    text = changed("user", tokenFile="token", token=None)
    assert access_of(text, folder=tmp_path).token == "from-a-file"
    for folder in (None, tmp_path / "elsewhere"):
        with pytest.raises(Refused) as refused:
            access_of(text, folder=folder)
        assert refused.value.error_class == "credentials"


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("user", {"token": None, "exec": {"command": "touch", "args": ["s3cr3t-text"]}}),
        ("user", {"token": None, "auth-provider": {"name": "gcp", "config": {"x": "s3cr3t-text"}}}),
        ("user", {"token": None, "username": "admin", "password": "s3cr3t-text"}),
        ("user", {"as": "s3cr3t-text"}),
        ("user", {"token": "s3cr3t-text\nX-Remote-User: root"}),
        ("user", {"token": 12345}),
        ("user", {"token": None}),
        ("user", {"token": None, "client-certificate-data": DATA}),
        ("user", {"token": None, "client-certificate-data": DATA, "client-key-data": "s3cr3t-text!"}),
        ("user", {"tokenFile": "/etc/shadow"}),
        ("cluster", {"certificate-authority": "/etc/ca.crt"}),
        ("cluster", {"certificate-authority-data": "s3cr3t-text!"}),
        ("cluster", {"insecure-skip-tls-verify": True}),
        ("cluster", {"proxy-url": "http://s3cr3t-text@proxy:3128"}),
        ("cluster", {"server": "http://cluster.example.org"}),
        ("cluster", {"server": "https://user:s3cr3t-text@cluster.example.org"}),
        ("cluster", {"server": "https://cluster.example.org/../x"}),
        ("cluster", {"server": "https://cluster.example.org/?x=y"}),
        ("cluster", {"server": "file:///etc/passwd"}),
        ("cluster", {"server": None}),
        ("context", {"user": None}),
        ("context", {"user": "nobody"}),
        ("context", {"cluster": "none"}),
    ],
)
def test_what_isnt_done_here_is_refused_without_a_word_of_it(part: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        access_of(changed(part, **changes))
    assert refused.value.error_class == "credentials"
    assert "s3cr3t-text" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "s3cr3t-text", "[s3cr3t-text", "users: s3cr3t-text", "users: [{name: [s3cr3t-text]}]"]
)
def test_what_is_no_kubeconfig_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(Refused) as refused:
        access_of(text)
    assert "s3cr3t-text" not in str(refused.value)


def test_a_context_that_isnt_there_is_a_bad_id_and_no_other_one_is_taken() -> None:
    with pytest.raises(Refused) as refused:
        access_of(kubeconfig({"blue": SERVER}), "green")
    assert refused.value.error_class == "bad_id"


def test_two_of_a_name_are_refused() -> None:
    config = yaml.safe_load(kubeconfig({"blue": SERVER}))
    config["clusters"] *= 2
    with pytest.raises(Refused):
        access_of(yaml.safe_dump(config))


def test_what_is_secret_of_an_access_is_not_shown() -> None:
    shown = repr(Access(SERVER, token="s3cr3t-text", certificate="s3cr3t-text", key="s3cr3t-text"))
    assert "s3cr3t-text" not in shown


# TLS


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Callable[..., tuple[KubernetesApi, Authority]]]:
    """Makes a server with a certificate for these names, and the authority that signed it."""
    started: list[KubernetesApi] = []

    def make(*hosts: str, wants_certificate: bool = False) -> tuple[KubernetesApi, Authority]:
        authority = Authority(tmp_path / f"authority-{len(started)}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.files("server", hosts))
        if wants_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=authority.pem)
        started.append(KubernetesApi(tls=context))
        return started[-1], authority

    yield make
    for api in started:
        api.stop()


def test_the_authority_of_the_kubeconfig_is_trusted_and_no_other(
    tls: Callable[..., tuple[KubernetesApi, Authority]],
) -> None:
    api, authority = tls("127.0.0.1")
    _, other = tls("127.0.0.1")
    with Cluster(Access(api.url, ca=authority.pem, token=ADMIN)) as cluster:
        assert cluster.uid == api.uid
    for ca in (other.pem, ""):
        with pytest.raises(Unreachable), Cluster(Access(api.url, ca=ca, token=ADMIN)):
            pass
    assert len(api.calls) == 1


def test_the_servers_name_is_looked_at(tls: Callable[..., tuple[KubernetesApi, Authority]]) -> None:
    api, authority = tls("cluster.internal")
    with pytest.raises(Unreachable), Cluster(Access(api.url, ca=authority.pem, token=ADMIN)):
        pass
    with Cluster(Access(api.url, ca=authority.pem, token=ADMIN, tls_server_name="cluster.internal")) as cluster:
        assert cluster.uid


def test_a_certificate_is_shown_where_there_is_one(tls: Callable[..., tuple[KubernetesApi, Authority]]) -> None:
    api, authority = tls("127.0.0.1", wants_certificate=True)
    mine = authority.texts("tracker")
    api.tokens[""] = "admin"
    with Cluster(Access(api.url, ca=authority.pem, certificate=mine["cert"], key=mine["key"])) as cluster:
        assert cluster.uid == api.uid
    with pytest.raises(Unreachable), Cluster(Access(api.url, ca=authority.pem, token=ADMIN)):
        pass


def test_a_key_that_is_none_is_refused(tls: Callable[..., tuple[KubernetesApi, Authority]]) -> None:
    api, authority = tls("127.0.0.1")
    access = Access(api.url, ca=authority.pem, certificate=PEM, key="s3cr3t-text")
    with pytest.raises(Refused) as refused, Cluster(access):
        pass
    assert "s3cr3t-text" not in str(refused.value)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_nothing_of_the_environments_proxies_is_used(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    with Cluster(Access(api.url, token=ADMIN)) as cluster:
        assert cluster.uid == api.uid


def test_a_redirection_is_not_followed(api: KubernetesApi) -> None:
    with KubernetesApi() as other:
        away = Fault("answer", answer=Reply(307, None, {"Location": f"{other.url}/api/v1/namespaces/kube-system"}))
        with api.failing(away), pytest.raises(Unreachable), Cluster(Access(api.url, token=ADMIN)):
            pass
        assert other.calls == []


# What answers mean


def test_only_a_not_found_of_this_very_object_is_gone(api: KubernetesApi, cluster: Cluster) -> None:
    with pytest.raises(Gone):
        cluster.get(POD)
    others = [
        Reply(404, b"404 page not found\n", {"Content-Type": "text/plain"}),
        Reply(404, {"message": "no such host"}),
        status(404, "the server could not find the requested resource"),
        status(404, 'pods "other" not found', name="other", kind="pods"),
        status(404, 'services "web" not found', name="web", kind="services"),
        status(404, 'pods "web" not found', "Unknown", name="web", kind="pods"),
    ]
    for reply in others:
        with api.failing(Fault("answer", path=POD, answer=reply)), pytest.raises(NotServed):
            cluster.get(POD)


@pytest.mark.parametrize(
    ("reply", "meant", "text"),
    [
        (status(401, "Unauthorized"), Refused, "credentials"),
        (status(403, 'pods "web" is forbidden: User "x" cannot get resource'), Refused, "credentials"),
        (Reply(403, b"<html>blocked</html>"), Refused, "credentials"),
        (status(403, 'namespaces "default" is forbidden: this namespace may not be deleted'), Refused, "protected"),
        (status(400, 'admission webhook "x" denied the request: it is protected'), Refused, "protected"),
        (status(422, "ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no"), Refused, "protected"),
        (status(422, "Pod is invalid"), Refused, "bad_id"),
        (status(409, "Operation cannot be fulfilled: the object has been modified"), Busy, ""),
        (status(409, "Precondition failed: UID in precondition: 1, UID in object meta: 2"), Gone, ""),
        (status(409, "the UID in the precondition (1) does not match the UID in record (2)"), Gone, ""),
        (Reply(409, b"conflict"), Unreachable, ""),
        (Reply(400, b"bad gateway of sorts"), Unreachable, ""),
        (status(410, "The provided continue parameter is too old"), Unreachable, ""),
        (status(500, "etcdserver: request timed out"), Unreachable, ""),
        (status(503, "apiserver is shutting down"), Unreachable, ""),
        (Reply(200, status(500, "broken").body), Unreachable, ""),
        (Reply(200, b"<html>sign in</html>"), Unreachable, ""),
        (Reply(200, {"kind": "Pod", "metadata": {"name": "other", "uid": "1"}}), Unreachable, ""),
        (Reply(200, {"kind": "Pod", "metadata": {"name": "web"}}), Unreachable, ""),
        (Reply(200, ["web"]), Unreachable, ""),
        (Reply(204), Unreachable, ""),
    ],
)
def test_what_an_answer_means(
    api: KubernetesApi, cluster: Cluster, reply: Reply, meant: type[Exception], text: str
) -> None:
    with api.failing(Fault("answer", path=POD, answer=reply)), pytest.raises(meant) as raised:
        cluster.get(POD)
    if isinstance(raised.value, Refused):
        assert raised.value.error_class == text


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [({"Retry-After": "17"}, {}, 17), ({}, {"retryAfterSeconds": 9}, 9), ({}, {}, 1)],
)
def test_a_throttle_says_for_how_long(
    api: KubernetesApi, cluster: Cluster, headers: dict[str, str], details: dict[str, Any], seconds: float
) -> None:
    reply = status(429, "too many requests", **details)
    with (
        api.failing(Fault("answer", path=POD, answer=Reply(429, reply.body, headers))),
        pytest.raises(Busy) as busy,
    ):
        cluster.get(POD)
    assert busy.value.retry_after == seconds


def test_a_cluster_that_doesnt_say_which_one_it_is_isnt_reached(api: KubernetesApi) -> None:
    del api.objects["namespaces", "", "kube-system"]
    with pytest.raises(Unreachable), Cluster(Access(api.url, token=ADMIN)):
        pass


def test_a_list_is_read_to_its_last_page(api: KubernetesApi, cluster: Cluster) -> None:
    names = {f"settings-{n}" for n in range(2 * api.page + 1)}
    for name in names:
        api.create("/api/v1/namespaces/default/configmaps", name)
    found = list(cluster.items("/api/v1/namespaces/default/configmaps"))
    assert {each["metadata"]["name"] for each in found} == names
    assert len(found) == len(names)


def test_a_list_that_is_none_is_not_an_empty_one(api: KubernetesApi, cluster: Cluster) -> None:
    bodies: list[Any] = [{"kind": "PodList"}, {"items": {}}, []]
    for body in bodies:
        with api.failing(Fault("answer", path="/pods", answer=Reply(200, body))), pytest.raises(Unreachable):
            list(cluster.items("/api/v1/pods"))


def test_an_answer_that_is_too_long_is_not_read_to_its_end(
    api: KubernetesApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_cluster, "ANSWER_MAX", 1000)
    with api.failing(Fault("answer", path=POD, answer=Reply(200, {"x": "y" * 2000}))), pytest.raises(Unreachable):
        cluster.get(POD)


def test_a_deletion_asks_for_this_very_object_alone(api: KubernetesApi, cluster: Cluster) -> None:
    path = "/api/v1/namespaces/default/configmaps/settings"
    api.create(path.rpartition("/")[0], "settings")
    with pytest.raises(Gone):
        cluster.delete(path, "00000000-0000-4000-8000-000000000000")
    body = api.get(path)
    assert body
    assert "deletionTimestamp" not in body["metadata"]
    cluster.delete(path, body["metadata"]["uid"])
    api.advance()
    assert api.get(path) is None


def test_what_quotes_the_credential_is_redacted(api: KubernetesApi) -> None:
    reply = status(401, f"invalid bearer token {ADMIN}")
    with (
        api.failing(Fault("answer", answer=reply)),
        pytest.raises(Refused) as refused,
        Cluster(Access(api.url, token=ADMIN)),
    ):
        pass
    assert ADMIN not in str(refused.value)
