"""The deployment state machine: each public method is one transition, and each transition one conditional write.

Called by the functions, and by a step of the cleanup (cleanup/core/rounds). It knows no provider.
"""

from tracker.lifecycle.intents import IntentTransitions
from tracker.lifecycle.requests import RequestTransitions
from tracker.lifecycle.terms import TermTransitions
from tracker.lifecycle.timing import TimedTransitions


class Lifecycle(RequestTransitions, TermTransitions, TimedTransitions, IntentTransitions):
    """All transitions: those that callers request, those that time asks for, and those that a round reports."""
