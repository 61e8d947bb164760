// SPDX-License-Identifier: Apache-2.0
/* A second process of a client, played by hand: its handshakes are taken apart, while the real one goes on. */
#pragma once

#include "tests/harness/unit.h"

struct by_hand {
	struct harness *h;
	size_t client;
	struct handshake_initiator initiator;
	uint8_t hello[WIRE_HELLO_SIZE];
	struct session session; /* what WELCOME said: its ID */
	struct transport_key *key;
};

/* Writes a HELLO that is newer than all before, as the client's clock goes; `cookie` may be NULL. */
static inline void write_hello(struct harness *h, struct by_hand *by, size_t client, uint32_t session_id,
			       const uint8_t *cookie)
{
	static uint64_t number;
	struct client_node *c = &h->clients[client];
	struct wire_hello hello = {.mtu = 1420};
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	*by = (struct by_hand){.h = h, .client = client};
	number++;
	wire_timestamp(hello.timestamp, h->clock.wall + NS_PER_MS + number);
	memcpy(hello.suites, c->role.suites, sizeof hello.suites);
	if (cookie != NULL)
		memcpy(hello.challenge, cookie, sizeof hello.challenge);
	key_derive(random, sizeof random, NULL, 0, "hello by hand", &number, sizeof number);
	cr_assert(
		handshake_write_hello(&by->initiator, &c->identity, &c->remote, session_id, &hello, random, by->hello));
	if (cookie != NULL)
		handshake_add_mac2(cookie, by->hello);
}

/* HELLO is in the gateway's queue. */
static inline void send_hello(struct harness *h, struct by_hand *by, size_t client, uint32_t session_id)
{
	write_hello(h, by, client, session_id, NULL);
	impairment_forge(&h->gateway.node, &h->clients[client].node, by->hello, sizeof by->hello);
}

/* Reads the WELCOME that an INSTALL message brings. */
static inline void read_welcome(struct by_hand *by, const struct inbox_message *message)
{
	struct wire_welcome welcome;
	struct noise_keys secrets;
	struct client_node *c = &by->h->clients[by->client];
	cr_assert(handshake_read_welcome(&by->initiator, &c->remote, message->install.answer,
					 message->install.answer_length, &welcome, &secrets));
	by->session.id = welcome.session_id;
	by->key = transport_key_new(c->node.worker->aead, welcome.suite, welcome.epoch, &secrets, TRANSPORT_CLIENT,
				    by->h->clock.monotonic);
	cr_assert_not_null(by->key);
}

/* CLIENT_ACK under the keys of this handshake is in the gateway's queue. */
static inline void send_ack(struct by_hand *by)
{
	uint8_t message[64];
	struct node *node = &by->h->clients[by->client].node;
	uint32_t length = node_seal(node, &by->session, by->key, WIRE_CLIENT_ACK, NULL, 0, message);
	impairment_forge(&by->h->gateway.node, node, message, length);
}

static inline void forget(struct by_hand *by)
{
	transport_key_free(by->key);
	by->key = NULL;
}
