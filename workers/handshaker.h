// SPDX-License-Identifier: Apache-2.0
/* A handshake thread of the gateway: answers HELLO, so that public-key work never delays a data packet and a flood of
 * HELLOs fills no queue but its own.
 *
 * It checks in the order of core/protocol/PROTOCOL.md, has the registry find the session, and hands its keys together
 * with the finished WELCOME to the worker that owns the session: that one installs the keys first and then sends. Only
 * COOKIEs leave from here. The initiation of a WireGuard client takes the same way, by its own rules
 * (core/protocol/WIREGUARD.md, workers/handshake_protocol.h), and what is said of HELLO, WELCOME and COOKIE here goes
 * for initiation, response and cookie reply as well. Where the gateway initiates, a worker demands it by the inbox, the
 * initiation leaves from here, and the response takes the way of a HELLO (workers/handshake_initiator.c). The thread
 * runs at lower priority than the workers and, where it shares their CPUs, keeps to a budget of time; while it cannot
 * follow, senders have to prove their addresses by a cookie, and the newest HELLOs are answered first (hello_queue.h).
 *
 * No limit is shared by unproven sources: a flood from forged addresses would use it up for all clients. COOKIE has a
 * twentieth of HELLO's size, and a cookie reply less than half of an initiation's, so they may be sent to any address.
 * While more arrives than the thread can check, it checks only sources that it has seen before (seen_sources.h). */
#pragma once

#include "core/protocol/handshake.h"
#include "core/protocol/reset.h"
#include "core/sessions/registry.h"
#include "crypto/ephemerals.h"
#include "crypto/rate_limit.h"
#include "workers/event.h"
#include "workers/event_loop.h"
#include "workers/forwarder.h"
#include "workers/handoff.h"
#include "workers/hello_queue.h"
#include "workers/inbox.h"
#include "workers/initiations.h"
#include "workers/seen_sources.h"

enum {
	HANDSHAKER_SOURCE_RATE = 100,  /* HELLOs a second from one IPv4 address or IPv6 /64 ... */
	HANDSHAKER_SOURCE_BURST = 200, /* ... and at once */
	HANDSHAKER_COOKIE_RATE = 1000, /* COOKIEs a second to one such source, while the thread is short of time; ... */
	HANDSHAKER_COOKIE_BURST = 1000, /* ... else there is no limit */
	HANDSHAKER_COOKIES = 32,	/* that leave in one system call */
	HANDSHAKER_COOKIE_MAX = WIRE_COOKIE_SIZE,
	HANDSHAKER_EPHEMERALS = 256,  /* key pairs made ahead: enough for a burst */
	HANDSHAKER_BUFFER = 32 << 20, /* bytes: its socket's, of HELLOs that come while others have the CPU; 14,000 */
	HANDSHAKER_WAITING = 4096,    /* HELLOs: what it answers in half a second or more; a power of two */
};

/* What all handshake threads of a gateway have in common; constant. */
struct handshaker_common {
	struct registry *registry;
	const struct handshake_identity *identity;
	const struct handshake_identity *wireguard; /* for the clients that speak it; NULL: they are not served */
	const struct cookie_jar *jar;
	const struct reset_secret *reset_secret;
	const struct forwarder *forwarder; /* NULL: it is no cluster */
	struct inbox *const *inboxes;	   /* of the workers, by number */
	unsigned share;			   /* threads there are: the limit of events is divided by it */
	uint16_t mtu;
	uint32_t rekey_interval;  /* s */
	uint32_t session_timeout; /* s */
	unsigned dns_count, route_count;
	struct ip_address dns[WIRE_DNS_MAX]; /* sent to clients */
	struct ip_prefix routes[WIRE_ROUTES_MAX];
	uint32_t suites;	    /* bit n: suite number n may be chosen */
	uint8_t capabilities;	    /* enum wire_capability, as WELCOME says them */
	struct event_queue *events; /* NULL: no events */
	bool always_cookie;	    /* demand one as if there were load: for tests */
};

struct handshaker_params {
	const struct handshaker_common *common;
	struct udp_socket *udp;	  /* the caller's */
	struct aead_engine *aead; /* the caller's; used by this thread alone */
	const struct clock *clock;
	const struct handoff *handoff; /* the caller's */
	struct copy_ring *copies;      /* the caller's: HELLOs that others received */
	uint64_t budget;	       /* ns of CPU time in each HANDSHAKER_WINDOW_NS; 0: all of it */
	uint32_t ephemerals;	       /* key pairs to make ahead; 0: each when it is needed */
	uint32_t stage_sampling;
	uint64_t ticks_per_second;
};

/* Short: what its socket holds has to last over the rest of one. */
#define HANDSHAKER_WINDOW_NS (10 * NS_PER_MS)

/* COOKIEs of a turn. */
struct handshaker_cookies {
	uint8_t nonce[COOKIE_NONCE_SIZE]; /* of the next: random, and from then on counted */
	size_t count;
	struct udp_message messages[HANDSHAKER_COOKIES];
	uint8_t bytes[HANDSHAKER_COOKIES][HANDSHAKER_COOKIE_MAX];
};

struct handshaker {
	struct handshaker_params params;
	uint64_t now;
	uint64_t load_until; /* under load until then, monotonic ns */
	uint64_t full_since; /* the socket had more than a turn takes in every turn since then; 0: it had not */
	bool behind;	     /* and that for so long that not all can be looked at */
	struct seen_sources seen;
	struct rate_limiter sources, cookie_sources;
	struct handshaker_cookies cookies;
	struct hello_queue waiting; /* with right macs, for the public-key work */
	struct ephemerals ephemerals;
	struct initiations initiations; /* ours */
	struct forward_sender sender;	/* of FORWARD */
	struct event_source events;
	struct udp_message *messages;
	uint8_t *buffers;
	struct event_loop loop; /* it never fails */

	/* written by others */
	struct inbox inbox;	 /* initiations to be sent, and what other gateways forwarded */
	_Atomic uint64_t budget; /* as in handshaker_params */
};

/* Start-up. NULL: `error`. Freed after the thread ended. */
struct handshaker *handshaker_new(const struct handshaker_params *params, struct error *error);
void handshaker_free(struct handshaker *handshaker);

/* Its budget from now on, as in the parameters. Any thread. */
void handshaker_set_budget(struct handshaker *handshaker, uint64_t ns);

/* The thread, registered for RCU: turns and sleeps until its event loop is stopped. */
void handshaker_run(struct handshaker *handshaker);

/* One turn without sleeping; returns the number of datagrams it received and HELLOs it worked on. */
size_t handshaker_turn(struct handshaker *handshaker);
