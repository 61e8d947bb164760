// SPDX-License-Identifier: Apache-2.0
/* A WireGuard client without a handshake: the gateway's session of a harness's first client gets a key of that
 * protocol, and the test has the other half of it. */
#pragma once

#include "tests/harness/unit.h"

enum {
	WG_EPOCH = 9,
	WG_KEPT = 64, /* messages of the gateway's */
};
#define WG_CLIENT_INDEX 0xc11e4703 /* what the client calls its key */

struct wg_client {
	struct harness *h;
	struct aead_engine *engine;
	struct transport_key *key; /* its receiver's index names the gateway's */
	struct packet_spec to_gateway4, to_gateway6, to_client4, to_client6;
	struct sockaddr_in6 address; /* it sends from here */
	struct udp_message kept[WG_KEPT];
	size_t kept_count;
};

/* Keeps what the gateway sends, none of which arrives anywhere. */
static inline unsigned wg_keep(void *context, struct link *from, struct udp_message *message)
{
	struct wg_client *wg = context;
	for (size_t i = 0; i < wg->h->options.clients; i++) {
		if (from == &wg->h->clients[i].node.link)
			return 1;
	}
	cr_assert_lt(wg->kept_count, WG_KEPT);
	struct udp_message *kept = &wg->kept[wg->kept_count++];
	*kept = *message;
	kept->data = malloc(message->length + 1);
	cr_assert_not_null(kept->data);
	memcpy(kept->data, message->data, message->length);
	return 0;
}

static inline void wg_forget(struct wg_client *wg)
{
	for (size_t i = 0; i < wg->kept_count; i++)
		free(wg->kept[i].data);
	wg->kept_count = 0;
}

static inline struct session *wg_session(const struct wg_client *wg)
{
	return harness_gateway_session(wg->h, 0);
}

/* A message of the client's to `message`, with the plaintext as it is. Returns its length. */
static inline uint32_t wg_seal(struct wg_client *wg, const uint8_t *plaintext, uint32_t length, uint8_t *message)
{
	uint8_t slack[2048 + AEAD_INPUT_SLACK] = {0};
	if (length != 0)
		memcpy(slack, plaintext, length);
	transport_seal(wg->engine, wg->key, 0, WIRE_DATA, slack, length, message);
	return length + WG_DATA_MIN;
}

static inline void wg_inject(struct wg_client *wg, uint8_t *message, uint32_t length)
{
	struct udp_message datagram = {
		.data = message,
		.length = length,
		.endpoint = {.remote = wg->address, .local = wg->h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&wg->h->gateway.node.link, &datagram));
	harness_pump(wg->h);
}

/* An inner packet, or none. */
static inline void wg_send(struct wg_client *wg, const uint8_t *plaintext, uint32_t length)
{
	uint8_t message[2048 + WG_DATA_MIN];
	wg_inject(wg, message, wg_seal(wg, plaintext, length, message));
}

/* The key is there, but not confirmed. The first client of ours is gone: its session goes on without it. */
static inline struct wg_client *wg_start(struct harness_options options)
{
	struct noise_keys secrets = {{1, 2, 3}, {4, 5, 6}};
	struct wg_client *wg = calloc(1, sizeof *wg);
	cr_assert_not_null(wg);
	struct harness *h = wg->h = unit_start_up(options);
	wg->engine = aead_engine_new("auto", NULL);
	cr_assert_not_null(wg->engine);
	wg->to_gateway4 = harness_spec(h, 0, TO_GATEWAY, 4, IPPROTO_UDP);
	wg->to_gateway6 = harness_spec(h, 0, TO_GATEWAY, 6, IPPROTO_UDP);
	wg->to_client4 = harness_spec(h, 0, TO_CLIENT, 4, IPPROTO_UDP);
	wg->to_client6 = harness_spec(h, 0, TO_CLIENT, 6, IPPROTO_UDP);
	wg->address = h->clients[0].node.link.address;
	harness_stop_client(h, 0, false);

	struct session *session = wg_session(wg);
	wg->key = transport_key_new_wireguard(wg->engine, WG_EPOCH, &secrets, TRANSPORT_CLIENT,
					      wg_index(session->id, WG_EPOCH), h->clock.monotonic);
	struct worker *worker = harness_owner(h, session->id);
	struct transport_key *key = transport_key_new_wireguard(worker->aead, WG_EPOCH, &secrets, TRANSPORT_GATEWAY,
								WG_CLIENT_INDEX, h->clock.monotonic);
	cr_assert(wg->key != NULL && key != NULL);
	session_set_next(session, key, h->clock.monotonic);
	session->next_from = session->endpoint;
	session->next_mtu = session->mtu;
	h->network.hooks = (struct link_hooks){.carry = wg_keep, .context = wg};
	return wg;
}

/* And the first packet confirmed it; of the session's other keys none is left. */
static inline struct wg_client *wg_start_up(struct harness_options options)
{
	struct wg_client *wg = wg_start(options);
	struct session *session = wg_session(wg);
	wg_send(wg, NULL, 0);
	cr_assert_eq(session->current->dialect, &dialect_wireguard);
	transport_key_free(session->previous);
	session->previous = NULL;
	cr_assert_eq(wg->kept_count, 0, "nothing is answered");
	return wg;
}

#define WG_START_UP(...) wg_start_up((struct harness_options){__VA_ARGS__})

static inline void wg_finish(struct wg_client *wg)
{
	struct harness *h = wg->h;
	check(h);
	h->network.hooks = (struct link_hooks){0};
	wg_forget(wg);
	transport_key_free(wg->key);
	aead_engine_free(wg->engine);
	free(wg);
	finish(h);
}
