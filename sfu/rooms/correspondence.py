"""The words of the server to its peers: each goes back on the way on which its peer speaks.

Owns the envelope around each word. Never decides about an end or an answer.
"""

from __future__ import annotations

import logging
from typing import Final

from sfu.access.caller import Caller
from sfu.media.ingest.allowance import ABUSE_PAUSE_S, ABUSES
from sfu.rooms.participant import Participant
from sfu.rooms.slots import SlotState
from sfu.signaling import messages
from sfu.signaling.bodies import Body, Bye, ErrorCode, ErrorNotice, SignalError
from sfu.signaling.messages import Envelope

_log = logging.getLogger(__name__)

UNAUTHORIZED: Final = str(ErrorCode.UNAUTHORIZED)
"""The reason of an end because claims hold no more."""


class Correspondence:
    """The words of one server, whose client id is `clientid`."""

    def __init__(self, clientid: str) -> None:
        self._clientid = clientid

    def say(self, caller: Caller, session: str | None, body: Body) -> None:
        """Sends one message."""
        try:
            payload = messages.dump(Envelope(self._clientid, body, session=session))
        except SignalError as error:  # our message is too large for the wire: the answer to a huge offer
            _log.error("the answer of session %s: %s", session, error.message)
            payload = messages.dump(Envelope(self._clientid, ErrorNotice(error.code, error.message), session=session))
        caller.reply(payload)

    def refuse(self, error: SignalError, caller: Caller) -> None:
        """Sends the error that answers a message."""
        self.say(caller, error.session, ErrorNotice(error.code, error.message, error.retry_after))

    def tell(self, participant: Participant, body: Body) -> None:
        """Sends one message to a participant."""
        self.say(participant.caller, participant.session, body)

    def tracks(self, participant: Participant, slots: tuple[SlotState, ...]) -> None:
        """Tells a v2 peer what its slots show, if it has any."""
        if participant.session is not None and slots:
            self.tell(participant, participant.tracks_message(slots))

    def farewell(self, participant: Participant, reason: str, text: str) -> None:
        """Tells a participant that its session ends; `text` says why if its claims hold no more."""
        if reason == UNAUTHORIZED:
            self.tell(participant, ErrorNotice(ErrorCode.UNAUTHORIZED, text))
        if participant.session is None:
            return
        if reason in ABUSES:
            self.tell(participant, ErrorNotice(ErrorCode.RATE_LIMITED, ABUSES[reason], ABUSE_PAUSE_S))
        self.tell(participant, Bye(reason))
