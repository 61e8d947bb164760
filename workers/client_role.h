// SPDX-License-Identifier: Apache-2.0
/* What a worker does as a client: the handshake's state machine (core/protocol/PROTOCOL.md, 4), one session. Everything
 * runs on the worker's thread; the control thread hands in endpoints and gets states through mailboxes. */
#pragma once

#include "core/base/ip_set.h"
#include "core/base/mailbox.h"
#include "core/protocol/handshake.h"
#include "workers/client_hello.h"
#include "workers/client_offer.h"
#include "workers/worker.h"

enum client_state {
	CLIENT_DOWN,	  /* no endpoint yet */
	CLIENT_HANDSHAKE, /* HELLO sent, no session */
	CLIENT_CONFIRM,	  /* WELCOME accepted, CLIENT_ACK sent */
	CLIENT_UP,
	CLIENT_RECONNECT, /* the session's gateway is silent: HELLO sent, the session goes on meanwhile */
};

/* What the control thread sees: the newest state, on the heap. */
struct client_snapshot {
	enum client_state state;
	int bye_reason;		       /* of the BYE that ended the last session, -1: none */
	bool forgotten;		       /* a RESET said that the session before was lost; until the one after it is UP */
	uint32_t hellos;	       /* rounds of them in vain since the last answer */
	uint64_t welcomed;	       /* when the last WELCOME was accepted, monotonic ns */
	struct wire_welcome lease;     /* of the last session; session_id 0: there was none */
	struct client_refusal refusal; /* of the last WELCOME */
	struct sockaddr_in6 gateway;   /* of the session, or tried first; family 0: none is known yet */
};

/* What the worker should do about a target besides using it. */
enum path_event {
	PATH_UNCHANGED,
	CLIENT_ROAMED, /* we may be somewhere else: let the gateway see where, at once */
	CLIENT_AWAKE,  /* the machine has slept: handshake at once */
};

/* Where the gateway is, from the control thread; on the heap. */
struct client_target {
	struct client_candidate candidates[CLIENT_ADDRESSES_MAX];
	size_t count;
	enum path_event event;
};

struct client_role {
	/* set before the worker starts */
	const struct handshake_identity *identity;
	const struct handshake_remote *remote;
	const struct ip_set *allowed;  /* where the gateway may send us packets from */
	const struct ip_set *networks; /* behind us: packets from the gateway may be for them */
	uint8_t suites[WIRE_SUITES_MAX];
	uint16_t mtu;		       /* until an address is known, whose way may be narrower */
	uint32_t persistent_keepalive; /* s, 0 = the gateway's wish */
	struct mailbox snapshots;      /* out: struct client_snapshot */
	struct mailbox targets;	       /* in: struct client_target */

	/* the worker's own */
	enum client_state state;
	struct session *session;
	struct client_hellos hellos;
	uint64_t silence; /* session->awaiting_reply_since when `signs` were last sent */
	unsigned signs;	  /* of life, sent in that silence */
	uint64_t ack_due;
	uint64_t ack_end;
	uint64_t reset_due;	 /* from when on a RESET is followed again */
	uint64_t reset_wait;	 /* until the one after it, ns */
	uint64_t rekey_interval; /* ns, with its random part taken off */
	uint64_t welcomed;
	int bye_reason;
	bool forgotten;
	struct wire_welcome lease;
	struct client_refusal refusal; /* of the last WELCOME */
};

extern const struct worker_role client_worker_role;

/* Opens the mailboxes; the other fields of the first group are the caller's to fill. 0 or a negative errno. */
int client_role_init(struct client_role *role);
void client_role_deinit(struct client_role *role);
