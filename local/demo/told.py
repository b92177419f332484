"""Scenes about who is told: a deployment's own webhook, and everyone who subscribes to the topic."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple, Self

from standardwebhooks import Webhook, WebhookVerificationError

from local.api import path_of
from local.demo.scene import Rented, Scene, WrongError, ask, until
from local.listener import Listener
from local.stack import Stack

# Seconds from one attempt at a webhook to the next; without it they are 5, 300, 1800 ...
GAPS = "3,3,10"


def told_to_its_webhook(stack: Stack) -> None:
    """A receiver knows by the signature who called, and a changed copy from the real thing."""
    scene = Scene(stack, "webhook")
    with Receiver(stack, [200]) as receiver:
        scene.call("POST", body=scene.registration(Rented(stack).ids, cleanup_webhook=receiver.url), expected=201)
        scene.call("DELETE", expected=202)
        scene.follow_to_the_end()
        (call,) = receiver.calls(1)
        scene.say(f"its webhook was posted {call.body[:118].decode()} ...")
        scene.expect("the signature is the tracker's, by the public standardwebhooks library", is_so=call.is_genuine)
        changed = call.body.replace(b"success", b"failed!")
        scene.expect("a changed copy of it is not", is_so=not receiver.verifies(call.headers, changed))


def told_to_a_webhook_that_fails(stack: Stack) -> None:
    """It answers 500, then 503; what it missed comes again by itself."""
    scene = Scene(stack, "patience")
    with Receiver(stack, [500, 503, 200]) as receiver:
        scene.call("POST", body=scene.registration(Rented(stack).ids, cleanup_webhook=receiver.url), expected=201)
        scene.call("DELETE", expected=202)
        scene.follow_to_the_end()
        scene.say(f"attempts are {GAPS} s apart here; by default 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h")
        calls_ = receiver.calls(3)
        for n, call in enumerate(calls_, 1):
            scene.say(f"attempt {n} at its webhook: answered {call.answer}", call.at)
        is_same = len({(call.headers["webhook-id"], call.body) for call in calls_}) == 1
        scene.expect("all had the same id and body, each signed anew", is_so=is_same)
        scene.expect("and every signature verifies", is_so=all(call.is_genuine for call in calls_))
        (delivery,) = until(lambda: delivered(scene))
        attempts = [attempt["status"] for attempt in delivery["attempts"]]
        scene.expect(f"the tracker has the delivery with its attempts: {attempts}", is_so=attempts == [500, 503, 200])


def delivered(scene: Scene) -> list[dict[str, Any]]:
    """The deliveries of a deployment that are done."""
    return [each for each in scene.call("GET", "deliveries")["deliveries"] if each["state"] == "delivered"]


class Call(NamedTuple):
    """This is what a receiver heard, how it answered, and whether the signature is good."""

    at: datetime
    headers: dict[str, str]
    body: bytes
    answer: int
    is_genuine: bool


class Receiver:
    """An HTTP server on loopback that checks signatures. It answers so, one after the other, and then goes on with the last."""

    def __init__(self, stack: Stack, answers: list[int]) -> None:
        arn = stack.outputs["WebhookSecretArn"]
        secret = json.loads(stack.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
        self._webhook = Webhook(f"whsec_{secret['current']}")
        self._heard: list[Call] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                is_genuine = receiver.verifies(headers, body)
                receiver._heard.append(Call(datetime.now(UTC), headers, body, answer, is_genuine))
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def verifies(self, headers: dict[str, str], body: bytes) -> bool:
        """Return whether the stack signed this."""
        try:
            self._webhook.verify(body, headers)
        except WebhookVerificationError:
            return False
        return True

    def calls(self, number: int) -> list[Call]:
        """Return what it heard, once that is so much."""
        return until(lambda: self._heard if len(self._heard) >= number else [])


class Subscriber:
    """An HTTP server on loopback that subscribes to the topic, confirms, and hears of good ends alone."""

    def __init__(self, stack: Stack, receiver: Receiver) -> None:
        self._receiver = receiver
        topic, sns = stack.outputs["TopicArn"], stack.client("sns")
        attributes = {"FilterPolicy": json.dumps({"event": ["cleanup_succeeded"]}), "RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url, Attributes=attributes)
        (asked,) = receiver.calls(1)
        sns.confirm_subscription(TopicArn=topic, Token=json.loads(asked.body)["Token"])
        print(f"\n{receiver.url} subscribed to the topic, was asked to confirm, and did.")

    def heard(self, number: int) -> set[str]:
        """The ids of what the topic posted since, once that are so many."""
        return until(lambda: found if len(found := self._posted()) >= number else set())

    def _posted(self) -> set[str]:
        return {json.loads(call.body)["id"] for call in self._receiver.calls(1)[1:]}


def about_deployments(topic: Listener) -> list[dict[str, Any]]:
    """Return everything so far about deployments (a stray has announcements of its own), by deployment and in its order."""
    about = [body for body in topic.heard() if "blueprint_id" in body["data"]]
    return sorted(about, key=lambda body: (body["data"]["blueprint_id"], body["data"]["sequence"]))


def by_deployment(heard: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group announcements by the deployment that they are about."""
    found: dict[str, list[dict[str, Any]]] = {}
    for announcement in heard:
        found.setdefault(announcement["data"]["blueprint_id"], []).append(announcement)
    return found


def unannounced(stack: Stack, heard: list[dict[str, Any]]) -> list[str]:
    """Return the keys of the deployments of which not just every fact, each once, was announced."""
    found = by_deployment(heard)
    facts = {key: [event["sequence"] for event in ask(stack, "GET", path_of(key)).body["events"]] for key in found}
    return [key for key in found if [each["data"]["sequence"] for each in found[key]] != facts[key]]


def what_was_announced(stack: Stack, topic: Listener, subscriber: Subscriber, *, deployments: int) -> None:
    """Print what came out of the topic, of so many deployments, and check that it is what the records say, to the last fact."""
    with suppress(WrongError):
        until(
            lambda: (
                len(by_deployment(heard := about_deployments(topic))) >= deployments and not unannounced(stack, heard)
            )
        )
    heard = about_deployments(topic)
    found = by_deployment(heard)
    print("\nWhat came out of the topic:")
    for key, announcements in found.items():
        print(f"  {key:<22} {', '.join(each['type'].removeprefix('deployment.') for each in announcements)}")
    if missing := unannounced(stack, heard):
        raise WrongError(f"{', '.join(missing)}: not every fact was announced")
    if len(found) < deployments:
        raise WrongError(f"only {len(found)} deployments were announced")
    outcomes = {each["id"] for each in heard if each["type"] == "deployment.cleanup_succeeded"}
    print(f"  {len(heard)} announcements of {len(found)} deployments, none missing; {len(outcomes)} receipts")
    posted = subscriber.heard(len(outcomes))
    if posted != outcomes:
        raise WrongError("the HTTP subscriber didn't hear the good ends, and them alone")
    print(f"  {len(posted)} were posted to the HTTP subscriber: the good ends, as its filter policy says")
