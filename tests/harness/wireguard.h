// SPDX-License-Identifier: Apache-2.0
/* WireGuard clients of a harness's gateway, made of core/protocol/wg_handshake.h and the keys of
 * core/protocol/transport.h. Each has an outer address of its own. They do nothing by themselves: the test says when
 * one initiates and sends. Only a response is answered, by an empty packet, unless the test wants none; and the
 * gateway's initiations, by a response or a cookie reply, if the test wants that.
 *
 *   struct harness *h = harness_new(&(struct harness_options){.clients = 1, .wireguard = true});
 *   struct wireguard *w = wireguard_new(h, 200);
 *   wireguard_up(w);
 *   ... wireguard_initiate(), wireguard_send(), wireguard_take() ...
 *   wireguard_free(w);
 *   harness_free(h);
 *
 * Instead of harness_pump() and harness_advance(), tests call the functions with the same names here. */
#pragma once

#include "core/protocol/wg_handshake.h"
#include "tests/harness/harness.h"

/* The keys of one handshake, as a client has them. */
struct wireguard_key {
	uint32_t index; /* what the client calls it */
	struct transport_key *key;
};

struct wireguard_client {
	struct handshake_identity identity;
	struct handshake_remote remote; /* the gateway's keys, and the PSK */
	struct sockaddr_in6 address;	/* it sends from here; wireguard_move() */
	struct ip_prefix inner4, inner6;
	uint16_t mtu;
	bool mute; /* it does not confirm a response */

	bool waits; /* for a response to its latest initiation */
	struct wg_initiator initiator;
	uint8_t initiation[WG_INITIATION_SIZE]; /* the latest, as it was sent */
	bool has_cookie;
	uint8_t cookie[COOKIE_SIZE];
	struct wireguard_key current, previous;

	/* as the responder */
	bool responds;			    /* to the gateway's initiations; else they are only checked and counted */
	bool demands_cookie;		    /* it answers what has no right mac2 by a cookie reply */
	uint8_t got[WG_INITIATION_SIZE];    /* the latest of them */
	uint8_t newest[WG_TIMESTAMP_SIZE];  /* its timestamp */
	uint8_t response[WG_RESPONSE_SIZE]; /* the latest response of the client */
	struct wireguard_key next;	    /* made with it, not yet used by the gateway */
	unsigned initiations, proven;	    /* authentic and newer than the ones before; with mac2 */

	unsigned responses, cookies, keepalives, packets; /* received and accepted */
	unsigned refused;				  /* not */
};

/* An inner packet that a client received. */
struct wireguard_packet {
	struct wireguard_packet *next;
	size_t client;
	uint32_t length;
	uint8_t data[];
};

struct wireguard {
	struct harness *h;
	struct link link; /* all addresses are its */
	struct aead_engine *engine;
	uint8_t *buffer;
	uint64_t moments; /* initiations: their timestamps rise */
	struct wireguard_packet *first, **last;
	size_t count;
	bool lossy; /* what the gateway's queue has no room for is lost; else the test ends there */
	struct wireguard_client *clients;
};

/* `count` clients, which the gateway is told of. The harness has to outlive them. */
struct wireguard *wireguard_new(struct harness *h, size_t count);
void wireguard_free(struct wireguard *w);

/* Lists a client at the gateway (again): 0 or what the registry says. `also` (NULL: nothing) has networks, limits, PSK
 * and contact for it. Its inner addresses are those that the gateway holds for it. */
int wireguard_list(struct wireguard *w, size_t client, const struct registry_peer *also);

/* The gateway's: its peer, and the active or else pending session, or NULL. */
struct peer *wireguard_peer(struct wireguard *w, size_t client);
struct session *wireguard_session(struct wireguard *w, size_t client);

/* The clients take, and answer, what has come. False: nothing has. For a test whose gateway runs on threads: then one
 * thread has all clients, and calls neither of the next two. */
bool wireguard_receive(struct wireguard *w);

/* Gateway and clients, until nothing moves; and on the manual clock. */
void wireguard_pump(struct wireguard *w);
void wireguard_advance(struct wireguard *w, uint64_t ns);

/* Writes an initiation, newer than all before, to the client's `initiation`; with mac2 if it has a cookie. */
void wireguard_prepare(struct wireguard *w, size_t client);

/* Sends that, as it is. */
void wireguard_send_initiation(struct wireguard *w, size_t client);

/* Both, and pumps. True: there are new keys. */
bool wireguard_initiate(struct wireguard *w, size_t client);

/* All clients initiate. True: all have keys that the gateway knows as confirmed. */
bool wireguard_up(struct wireguard *w);

/* Any bytes, from the client's address; does not pump. */
void wireguard_send_raw(struct wireguard *w, size_t client, const uint8_t *message, uint32_t length);

/* Seals `length` bytes of plaintext as they are; returns the message's length. */
uint32_t wireguard_seal(struct wireguard *w, size_t client, const uint8_t *plaintext, uint32_t length,
			uint8_t *message);

/* Answers the gateway's latest initiation, as it was got. The response is in `response`, and the keys are next. It is
 * not sent. */
void wireguard_respond(struct wireguard *w, size_t client);

/* The gateway gets a packet for the client from its TUN, of 64 bytes of payload that are all `text`. Does not pump. */
void wireguard_put(struct wireguard *w, size_t client, uint8_t text);

/* An inner packet, padded as a client does; 0 bytes: a keepalive. Does not pump. */
void wireguard_send(struct wireguard *w, size_t client, const uint8_t *packet, uint32_t length);

/* The next inner packet that the client received, without padding; NULL: none. The caller's to free. */
struct wireguard_packet *wireguard_take(struct wireguard *w, size_t client);

/* Packets that were not taken yet. */
size_t wireguard_waiting(const struct wireguard *w);

/* The client is at another address from now on; what is sent to the one before is lost. */
void wireguard_move(struct wireguard *w, size_t client, const char *address, uint16_t port);

/* As harness_spec(). */
struct packet_spec wireguard_spec(struct wireguard *w, size_t client, enum direction direction, uint8_t version,
				  uint8_t protocol);

/* As harness_ping(): one small packet comes through as it is, and no other. */
bool wireguard_ping(struct wireguard *w, size_t client, enum direction direction);
