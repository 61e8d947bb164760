// SPDX-License-Identifier: Apache-2.0
/* The client's HELLOs: to which of the gateway's addresses, when, and which WELCOME or COOKIE answers one
 * (core/protocol/PROTOCOL.md, 2 and 4).
 *
 * A handshake goes in rounds. While no session works, a round asks all addresses one after another, 250 ms apart (Happy
 * Eyeballs, RFC 8305), the one that was used last first; a rekey of a session that works asks its address alone. Each
 * address has its own latest HELLO and its own cookie. The worker's thread. */
#pragma once

#include <stdbool.h>

#include "core/protocol/handshake.h"
#include "core/sessions/session.h"
#include "workers/worker.h"

enum {
	CLIENT_ADDRESSES_MAX = 8,
	CLIENT_REPEATS = 2, /* HELLOs at once for COOKIEs that answer one with mac2, for each HELLO that was due */
};

/* Where the gateway may be, in the order to try. */
struct client_candidate {
	struct sockaddr_in6 remote; /* v4-mapped for IPv4 */
	uint16_t mtu;		    /* of the inner packets that fit on the way there */
};

struct client_cookie {
	uint8_t bytes[COOKIE_SIZE];
	uint64_t end; /* until when it goes into HELLO, monotonic ns */
};

struct client_address {
	struct endpoint gateway;
	uint16_t mtu;
	uint32_t order; /* of its latest HELLO among all; 0: none waits for an answer */
	struct handshake_initiator initiator;
	struct client_cookie proof;	/* the key of mac2: proves our source address */
	struct client_cookie challenge; /* proves that our HELLO is no recording */
	bool proof_sent;		/* that HELLO had a mac2, */
	bool same_sent;			/* made with what was its challenge too */
	bool repeat;			/* COOKIE demands the next one at once, outside of the rounds */
	uint8_t repeats;		/* such ones since the last HELLO that was due */
};

struct client_hellos {
	struct client_address addresses[CLIENT_ADDRESSES_MAX];
	size_t count;
	size_t current; /* index of the session's address, which is tried first */
	bool handshaking;
	uint32_t rounds;	 /* begun since the last answer */
	size_t step;		 /* addresses asked in this round; 0: it has not begun */
	uint64_t due;		 /* of the next HELLO, monotonic ns */
	uint64_t next;		 /* round, monotonic ns */
	uint64_t wait;		 /* between the next rounds, ns */
	uint32_t order;		 /* of the last HELLO */
	uint64_t last_timestamp; /* wall ns, of the last HELLO */
};

/* What goes into a HELLO, and where it may be sent. */
struct client_hello_wish {
	const struct handshake_identity *identity;
	const struct handshake_remote *remote;
	const uint8_t *suites;		  /* WIRE_SUITES_MAX */
	uint32_t session_id;		  /* to rekey or resume, or the last one, which ended; 0: there was none */
	const struct wire_welcome *lease; /* of the last session, whose addresses are wished */
	bool all;			  /* addresses, or the current one alone */
};

/* `interval` with up to `percent` of it added or taken off, at random. */
uint64_t client_jitter(uint64_t interval, unsigned percent);

/* The addresses from now on. One that stays keeps its HELLO and cookie, and the current one stays current; if it is
 * gone, the first one is. Returns whether the current one is another, or has another MTU. */
bool client_hellos_aim(struct client_hellos *hellos, const struct client_candidate *candidates, size_t count);

/* Begins a handshake: HELLOs before it are forgotten, the first round comes at `due`. */
void client_hellos_start(struct client_hellos *hellos, uint64_t due);

/* A new round at once, as if the handshake began now. */
void client_hellos_expedite(struct client_hellos *hellos, uint64_t now);

/* Sends the HELLO that is due, if any. Returns whether a round began. */
bool client_hellos_tick(struct worker *worker, struct client_hellos *hellos, const struct client_hello_wish *wish);

/* The address whose latest HELLO this WELCOME or COOKIE answers, or NULL; it may still be forged. */
struct client_address *client_hellos_answered(struct client_hellos *hellos, const uint8_t *message);

/* Takes a COOKIE. One for a HELLO without mac2 begins a new round at once, with the address that sent it; one for a
 * HELLO with mac2 is followed at once too, but by one HELLO to that address, and no more than CLIENT_REPEATS times for
 * each HELLO that was due. */
enum drop_reason client_hellos_cookie(struct worker *worker, struct client_hellos *hellos,
				      const struct handshake_remote *remote, const struct datagram *datagram);

/* WELCOME for this address's HELLO was accepted: it is the current one, and the handshake is over but for WELCOMEs that
 * answer later HELLOs, which the gateway may have taken in the place of this one. */
void client_hellos_accept(struct client_hellos *hellos, struct client_address *address);

/* Whether there are such. */
bool client_hellos_pending(const struct client_hellos *hellos);

/* No HELLO waits for an answer any more. */
void client_hellos_forget(struct client_hellos *hellos);

/* The gateway started again: cookies from before are none. */
void client_hellos_forget_cookies(struct client_hellos *hellos);

static inline const struct client_address *client_hellos_current(const struct client_hellos *hellos)
{
	return &hellos->addresses[hellos->current];
}
