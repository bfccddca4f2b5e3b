"""Transports: SDP, the one UDP port, ICE, DTLS, SRTP. Never knows rooms, topics or what a packet means."""
