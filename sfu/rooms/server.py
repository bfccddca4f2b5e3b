"""The room server: takes signalling messages, keeps participants and room state, sends messages and states.

Owns the table of participants and the order in which one change reaches everybody it concerns. Never touches MQTT
(`RoomEvents` does), sockets or packets.

How things end (every end is idempotent and runs down this table once):

    | what happens                          | message to peer    | room state   | slots of others | transport |
    |---------------------------------------|--------------------|--------------|-----------------|-----------|
    | peer says bye                         | no                 | leaves       | refilled        | closed    |
    | transport ends (ICE, DTLS, silence)   | bye, to v2         | leaves       | refilled        | closed    |
    | far too many packets or SSRCs         | error, bye, to v2  | leaves       | refilled        | closed    |
    | too many have not connected (oldest)  | bye, to v2         | leaves       | refilled        | closed    |
    | newer session on the leaf (`replace`) | bye, to v2         | leaves, joins| refilled        | closed    |
    | bug while handling the participant    | error internal     | leaves       | refilled        | closed    |
    | claims hold no more                   | error, bye, to v2  | leaves       | refilled        | closed    |
    | server shuts down                     | bye, to v2         | all offline  | -               | closed    |
    | broker gone                           | -                  | -            | -               | goes on   |
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime
from typing import Final

from sfu.access.caller import Caller
from sfu.media.forward.fanout import Fanout
from sfu.media.ingest.track import IncomingTrack
from sfu.rooms.admission import RATE_WINDOW_S, EarlyCandidates, HalfOpen, MessageRates
from sfu.rooms.correspondence import UNAUTHORIZED, Correspondence
from sfu.rooms.gate import Gate, Heard
from sfu.rooms.leaf_reader import LeafReader
from sfu.rooms.offers import OfferClass
from sfu.rooms.participant import NewTransport, Participant, RoomConfig
from sfu.rooms.publication import Publication, RoomServerListener
from sfu.rooms.room import Change, RoomError, Rooms
from sfu.rooms.senders import SlotSource
from sfu.rooms.status import drop_counts, repair_counts
from sfu.rooms.tasks import Tasks
from sfu.rtc.sdp.description import Negotiated, SdpError
from sfu.rtc.sdp.parse import parse_description
from sfu.signaling.bodies import Answer, Bye, Candidate, ErrorCode, Offer, Select, SignalError, Sizes
from sfu.signaling.topics import Leaf, Role

_log = logging.getLogger(__name__)

TICK_S: Final = 0.2
_CLOSE_S: Final = 2.0
"""Longest time for the transports to close when the server shuts down."""


class RoomServer:
    """The sessions in all rooms of one server."""

    def __init__(
        self,
        clientid: str,
        rooms: Rooms,
        gate: Gate,
        fanout: Fanout,
        config: RoomConfig,
        *,
        publication: Publication,
        listener: RoomServerListener,
        new_transport: NewTransport,
        messages_per_window: int,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        """Dropped packets of ended sessions, by reason."""
        self.repairs: Counter[str] = Counter()
        """Counts about lost packets in ended sessions: retransmission in both directions."""
        self.participants: dict[Leaf, Participant] = {}
        self._rooms = rooms
        self._gate = gate
        self._post = Correspondence(clientid)
        self._publication = publication
        self._listener = listener
        self._fanout = fanout
        self._config = config
        self._new_transport = new_transport
        self._rates = MessageRates(messages_per_window)
        self._early = EarlyCandidates()
        self._half_open = HalfOpen()
        self._reader = LeafReader(clientid, self.counters, self, gate=gate, rates=self._rates, clock=config.clock)
        self._forget_at = 0.0
        self._tasks = Tasks()
        self._closing = False

    @property
    def remembered_leaves(self) -> int:
        """Leaves whose message rates or early candidates are kept for a while."""
        return self._rates.known + self._early.known

    @property
    def running_tasks(self) -> int:
        """Offers that are being answered and transports that are being closed."""
        return len(self._tasks)

    # --- messages in

    def receive(self, leaf: Leaf, payload: bytes, caller: Caller | None = None) -> None:
        """Handles one message on a leaf: of `caller`, or from the broker. Never raises, nor disturbs other leaves."""
        self._reader.receive(leaf, payload, caller, self._config.clock())

    def handle(self, leaf: Leaf, heard: Heard) -> None:
        """See `LeafReaderListener`."""
        try:
            self._dispatch(leaf, heard)
        except SignalError as error:
            self.on_fault(error, heard.caller)
        except Exception:  # noqa: BLE001  # the task boundary of a participant's signalling
            _log.exception("%s: internal error", leaf)
            self._end(leaf, "internal")
            self.on_fault(SignalError(ErrorCode.INTERNAL, "the server failed on this message"), heard.caller)

    def known(self, room: str) -> bool:
        """Returns True if the room or one below it has a participant."""
        return self._rooms.known(room)

    def recall(self, room: str) -> None:
        """Publishes the room's state at the next tick if nobody is in the room: the broker retains an older one."""
        if not self._rooms.known(room):
            self._publication.recall(room)

    def refuse(self, leaf: Leaf, payload: bytes) -> None:
        """Refuses a message unread. The leaf gets an error once in a while."""
        self._reader.refuse(leaf, payload, None, self._config.clock())

    def urgency(self, leaf: Leaf, heard: Heard) -> OfferClass:
        """See `LeafReaderListener`."""
        current = self.participants.get(leaf)
        if current is not None and current.connected_after is not None:
            client = (heard.envelope.clientid, heard.envelope.session)
            return OfferClass.SESSION if client == (current.clientid, current.session) else OfferClass.LIVE
        if self._rooms.live(leaf.room) or self._publication.produced(leaf.room):
            return OfferClass.LIVE
        return OfferClass.NEW if leaf.role is Role.VIEW else OfferClass.SENDER

    def on_fault(self, error: SignalError, caller: Caller) -> None:
        """See `LeafReaderListener`."""
        self.counters[f"refused_{error.code}"] += 1
        if error.answerable:
            self._post.refuse(error, caller)

    def _dispatch(self, leaf: Leaf, heard: Heard) -> None:
        body = heard.envelope.body
        if isinstance(body, Offer):
            self._on_offer(leaf, heard, body.sdp)
            return
        if isinstance(body, Candidate) and leaf not in self.participants:
            if self._gate.lets_in(leaf, heard):
                self._early.keep(leaf, body, self._config.clock())
            return
        participant = self._sender_of(leaf, heard)
        if participant is None:
            return
        if isinstance(body, Candidate):
            participant.transport.agent.add_candidate(body.candidate)
        elif isinstance(body, Bye):
            self._end(leaf, None)
        elif isinstance(body, Select):
            self._on_select(participant, body)
        elif isinstance(body, Sizes):
            participant.downlink.resize(body.windows)

    def _sender_of(self, leaf: Leaf, heard: Heard) -> Participant | None:
        """Returns the participant whose session a message belongs to; counts messages of other sessions."""
        participant = self.participants.get(leaf)
        if participant is None:
            self.counters["no_session"] += 1
        elif participant.session != heard.envelope.session:
            self.counters["other_session"] += 1
        elif participant.clientid != heard.envelope.clientid:
            self.counters["foreign_clientid"] += 1
        elif not heard.caller.continues(participant.caller):
            self.counters["other_sender"] += 1
        else:
            return participant
        return None

    # --- offers

    def _on_offer(self, leaf: Leaf, heard: Heard, text: str) -> None:
        envelope = heard.envelope
        if self._closing:
            raise SignalError(ErrorCode.SHUTTING_DOWN, "the server is shutting down", session=envelope.session)
        if envelope.session is not None and envelope.clientid != leaf.peer:
            self.counters["foreign_clientid"] += 1
            text = f"clientid must be the peer id of the topic: {leaf.peer}"
            raise SignalError(ErrorCode.BAD_REQUEST, text, session=envelope.session)
        current = self.participants.get(leaf)
        client = (envelope.clientid, envelope.session)
        if current is not None and (current.clientid, current.session) == client and current.offer_text == text:
            current.caller, current.claims = heard.caller, heard.claims
            if current.answer_text is not None:
                self._post.tell(current, Answer(current.answer_text))
            return
        try:
            self._negotiate(leaf, heard, text)
        except (SdpError, RoomError) as error:
            raise SignalError(ErrorCode(error.code), error.message, session=envelope.session) from error

    def _negotiate(self, leaf: Leaf, heard: Heard, text: str) -> None:
        description = parse_description(text)
        current, client = self.participants.get(leaf), (heard.envelope.clientid, heard.envelope.session)
        if current is not None and current.renegotiates(client, description):
            participant = current
            negotiated = participant.negotiate(text, description)
            participant.caller, participant.claims = heard.caller, heard.claims
        else:
            participant = Participant(leaf, heard, self._new_transport, self._fanout, self._config, listener=self)
            try:
                negotiated = participant.negotiate(text, description)  # before anybody is replaced by a bad offer
                self._admit(participant)
            except Exception:
                self._tasks.spawn(participant.transport.close(), f"refuse {leaf}")
                raise
        change = self._rooms.set_slots(leaf, participant.slot_specs())
        self._tasks.spawn(self._answer(participant, negotiated), f"answer {leaf}")
        self._apply(change)
        self.on_tracks(participant)

    def _admit(self, participant: Participant) -> None:
        leaf = participant.leaf
        for replaced in self._rooms.admit(leaf):
            self._end(replaced, "replaced")
        self.participants[leaf] = participant
        self._half_open.add(leaf, self._config.clock(), live=self._rooms.live(leaf.room))
        self.counters["sessions"] += 1
        since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._apply(self._rooms.join(leaf, since=since))
        _log.info("%s: session %s begins", leaf, participant.session or "of a legacy peer")

    async def _answer(self, participant: Participant, negotiated: Negotiated) -> None:
        leaf = participant.leaf
        await participant.gather(negotiated)
        if self.participants.get(leaf) is not participant:
            return
        self._post.tell(participant, Answer(participant.answer(negotiated)))
        for candidate in self._early.take(leaf, self._config.clock()):
            participant.transport.agent.add_candidate(candidate.candidate)
        self._post.tracks(participant, self._rooms.slots(leaf))

    def _on_select(self, participant: Participant, select: Select) -> None:
        try:
            change = self._rooms.select(
                participant.leaf, mid=select.mid, peer=select.peer, room=select.room, track=select.track
            )
        except RoomError as error:
            raise SignalError(ErrorCode(error.code), error.message, session=participant.session) from error
        participant.downlink.want(select.mid, select.layer)
        self._apply(change)

    # --- what changes

    def on_tracks(self, participant: Participant) -> None:
        """See `ParticipantListener`."""
        if self.participants.get(participant.leaf) is participant:
            problems = participant.uplink.problems
            self._apply(self._rooms.set_tracks(participant.leaf, participant.tracks(), problems))
            self._listener.uplink(participant.leaf.room, participant.leaf.peer, participant.uplink)

    def on_sparse(self, participant: Participant) -> None:
        """See `ParticipantListener`."""
        self._post.tracks(participant, self._rooms.slots(participant.leaf))

    def on_connected(self, participant: Participant) -> None:
        """See `ParticipantListener`."""
        self.counters["connected"] += 1
        self._half_open.remove(participant.leaf)
        participant.show(self._rooms.slots(participant.leaf), self._find)

    def on_closed(self, participant: Participant, reason: str) -> None:
        """See `ParticipantListener`."""
        if self.participants.get(participant.leaf) is participant:
            self._end(participant.leaf, reason)

    def _apply(self, change: Change) -> None:
        """Applies one change of room state to the consumers, peers and topics that it concerns."""
        for leaf, slots in change.slots.items():
            participant = self.participants.get(leaf)
            if participant is not None:
                participant.show(slots, self._find)
                if participant.answer_text is not None:
                    self._post.tracks(participant, slots)
        self._publication.note(change)

    def _find(self, source: SlotSource) -> IncomingTrack | None:
        """Returns the track of a slot's source; None if it has ended."""
        for role in (Role.PUB, Role.JOIN):
            participant = self.participants.get(Leaf(source.room, role, source.peer))
            if participant is not None and source.track in participant.uplink.tracks:
                return participant.uplink.tracks[source.track]
        return None

    def _end(self, leaf: Leaf, reason: str | None, text: str = "") -> None:
        """Ends the session on a leaf. `reason` is sent to a v2 peer; None if the peer left by itself."""
        participant = self.participants.pop(leaf, None)
        if participant is None:
            return
        self._half_open.remove(leaf)
        _log.info("%s: session ends: %s", leaf, reason or "bye")
        self.counters[f"ended_{reason or 'bye'}"] += 1
        self.drops.update(drop_counts(participant))
        self.repairs.update(repair_counts(participant))
        self._listener.uplink(leaf.room, leaf.peer, None)
        participant.detach()
        if reason is not None:
            self._post.farewell(participant, reason, text)
        self._apply(self._rooms.leave(leaf))
        self._tasks.spawn(participant.transport.close(), f"close {leaf}")

    # --- time

    def tick(self) -> None:
        """Sends reports, repeats requests, publishes changed room states. To be called every `TICK_S`."""
        if self._closing:
            return
        now = self._config.clock()
        for participant in list(self.participants.values()):
            if (fault := self._gate.rules.fault(participant.claims)) is not None:
                self._end(participant.leaf, UNAUTHORIZED, fault)
                continue
            participant.tick(now)
        for leaf in self._half_open.surplus(now):
            self._end(leaf, "timeout")
        self._publication.publish(now)
        if now >= self._forget_at:
            self._forget_at = now + RATE_WINDOW_S
            self._rates.forget(now)
            self._early.forget(now)

    async def close(self) -> None:
        """Sends `bye` to every peer, closes every transport, publishes the final room states. Refuses new offers."""
        self._closing = True
        self._reader.close()
        for leaf in list(self.participants):
            self._end(leaf, "shutting_down")
        self._publication.publish(self._config.clock())
        await self._tasks.finish(_CLOSE_S)
