// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/wireguard.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "crypto/wg_mac.h"
#include "tests/harness/inside.h"
#include "tun/inner.h"

enum { INDEX_STEP = 0x10001 /* of a client's indexes: they look like nothing of the gateway's */ };

static struct wireguard_client *client_of(struct wireguard *w, size_t client)
{
	must(client < w->count, "no such WireGuard client");
	return &w->clients[client];
}

/* --- making ------------------------------------------------------------------------------------------------------- */

static void open_client(struct wireguard *w, size_t i)
{
	struct wireguard_client *c = &w->clients[i];
	uint32_t number = (uint32_t)i;
	uint8_t private_key[KEY_SIZE], psk[KEY_SIZE];
	char text[64];
	key_derive(private_key, sizeof private_key, NULL, 0, "harness wireguard", &number, sizeof number);
	key_derive(psk, sizeof psk, NULL, 0, "harness wireguard psk", &number, sizeof number);
	wg_identity_init(&c->identity, private_key);
	must(wg_remote_init(&c->remote, &c->identity, w->h->gateway.wireguard.keys.public_key, psk), "remote");
	snprintf(text, sizeof text, w->h->options.ipv6_outside ? "2001:db8:2::%zu" : "203.0.113.%zu", i + 1);
	c->address = network_address(text, 51820);
	c->mtu = w->h->options.mtu;
	link_add_address(&w->link, c->address);
	must(wireguard_list(w, i, NULL) == 0, "WireGuard peer");
}

struct wireguard *wireguard_new(struct harness *h, size_t count)
{
	must(h->options.wireguard, "the harness serves no WireGuard clients");
	struct wireguard *w = calloc(1, sizeof *w);
	must(w != NULL, "memory");
	*w = (struct wireguard){.h = h, .count = count, .last = &w->first};
	w->clients = calloc(count, sizeof *w->clients);
	w->buffer = malloc(UDP_MESSAGE_MAX);
	w->engine = aead_engine_new("auto", NULL);
	must(w->clients != NULL && w->buffer != NULL && w->engine != NULL, "WireGuard clients");
	must(link_open_member(&w->link, &h->network, network_address("0.0.0.0", 51820)) == 0, "link");
	for (size_t i = 0; i < count; i++)
		open_client(w, i);
	return w;
}

void wireguard_free(struct wireguard *w)
{
	while (w->first != NULL) {
		struct wireguard_packet *packet = w->first;
		w->first = packet->next;
		free(packet);
	}
	for (size_t i = 0; i < w->count; i++) {
		transport_key_free(w->clients[i].current.key);
		transport_key_free(w->clients[i].previous.key);
		transport_key_free(w->clients[i].next.key);
	}
	udp_close(&w->link.base);
	aead_engine_free(w->engine);
	free(w->buffer);
	free(w->clients);
	free(w);
}

int wireguard_list(struct wireguard *w, size_t client, const struct registry_peer *also)
{
	struct wireguard_client *c = client_of(w, client);
	struct registry_peer peer = also != NULL ? *also : (struct registry_peer){0};
	peer.public_key = c->identity.keys.public_key;
	if (peer.preshared_key == NULL)
		peer.preshared_key = c->remote.preshared_key;
	peer.protocol = PEER_WIREGUARD;
	int result = registry_add_peer(&w->h->gateway.registry, &peer, NULL);
	if (result == 0)
		pool_addresses(&w->h->gateway.registry.pool, wireguard_peer(w, client)->fixed_index, &c->inner4,
			       &c->inner6);
	return result;
}

struct peer *wireguard_peer(struct wireguard *w, size_t client)
{
	return peers_find(&w->h->gateway.registry.peers, client_of(w, client)->identity.keys.public_key);
}

struct session *wireguard_session(struct wireguard *w, size_t client)
{
	const struct peer *peer = wireguard_peer(w, client);
	if (peer == NULL)
		return NULL;
	return peer->pending != NULL ? peer->pending : peer->active;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

void wireguard_send_raw(struct wireguard *w, size_t client, const uint8_t *message, uint32_t length)
{
	const struct wireguard_client *c = client_of(w, client);
	memcpy(w->buffer, message, length);
	struct udp_message datagram = {
		.data = w->buffer,
		.length = length,
		.endpoint = {.remote = c->address, .local = w->h->gateway_address.sin6_addr},
	};
	must(link_inject(&w->h->gateway.node.link, &datagram) || w->lossy, "the gateway's queue is full");
}

void wireguard_prepare(struct wireguard *w, size_t client)
{
	struct wireguard_client *c = client_of(w, client);
	uint64_t number = ++w->moments;
	uint8_t timestamp[WG_TIMESTAMP_SIZE], ephemeral[KEY_SIZE];
	wire_timestamp(timestamp, clock_wall(w->h->gateway.node.clock) + number);
	key_derive(ephemeral, sizeof ephemeral, NULL, 0, "harness wireguard ephemeral", &number, sizeof number);
	must(wg_write_initiation(&c->initiator, &c->identity, &c->remote, (uint32_t)number * INDEX_STEP, timestamp,
				 ephemeral, c->initiation),
	     "initiation");
	if (c->has_cookie)
		wg_add_mac2(c->cookie, c->initiation, sizeof c->initiation);
	c->waits = true;
}

void wireguard_send_initiation(struct wireguard *w, size_t client)
{
	wireguard_send_raw(w, client, client_of(w, client)->initiation, WG_INITIATION_SIZE);
}

bool wireguard_initiate(struct wireguard *w, size_t client)
{
	unsigned before = client_of(w, client)->responses;
	wireguard_prepare(w, client);
	wireguard_send_initiation(w, client);
	wireguard_pump(w);
	return client_of(w, client)->responses == before + 1;
}

bool wireguard_up(struct wireguard *w)
{
	bool up = true;
	for (size_t i = 0; i < w->count; i++)
		up &= wireguard_initiate(w, i);
	for (size_t i = 0; i < w->count; i++) {
		const struct session *session = wireguard_session(w, i);
		up &= session != NULL && session_is_active(session) && session->next == NULL;
	}
	return up;
}

uint32_t wireguard_seal(struct wireguard *w, size_t client, const uint8_t *plaintext, uint32_t length, uint8_t *message)
{
	uint8_t slack[UINT16_MAX + AEAD_INPUT_SLACK] = {0};
	must(client_of(w, client)->current.key != NULL, "the WireGuard client has no key");
	if (length != 0)
		memcpy(slack, plaintext, length);
	transport_seal(w->engine, client_of(w, client)->current.key, 0, WIRE_DATA, slack, length, message);
	return length + WG_OVERHEAD;
}

void wireguard_send(struct wireguard *w, size_t client, const uint8_t *packet, uint32_t length)
{
	uint8_t padded[UINT16_MAX] = {0}, message[UINT16_MAX + WG_OVERHEAD];
	if (length != 0)
		memcpy(padded, packet, length);
	uint32_t size = wireguard_seal(w, client, padded, wg_padded_size(length, client_of(w, client)->mtu), message);
	wireguard_send_raw(w, client, message, size);
}

void wireguard_move(struct wireguard *w, size_t client, const char *address, uint16_t port)
{
	struct sockaddr_in6 there = network_address(address, port);
	if (network_find(&w->h->network, &there) == NULL)
		link_add_address(&w->link, there);
	client_of(w, client)->address = there;
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static void take_response(struct wireguard *w, struct wireguard_client *c, const uint8_t *message, uint32_t length)
{
	uint32_t peer_index, index = c->initiator.index;
	struct noise_keys secrets;
	if (length != WG_RESPONSE_SIZE || !c->waits || !wg_check_mac1(&c->identity, message, length) ||
	    !wg_read_response(&c->initiator, &c->remote, message, &peer_index, &secrets)) {
		c->refused++;
		return;
	}
	transport_key_free(c->previous.key);
	c->previous = c->current;
	c->current = (struct wireguard_key){
		.index = index,
		.key = transport_key_new_wireguard(w->engine, 0, &secrets, TRANSPORT_CLIENT, peer_index,
						   clock_monotonic(w->h->gateway.node.clock)),
	};
	must(c->current.key != NULL, "key");
	c->waits = false;
	c->responses++;
	if (!c->mute)
		wireguard_send(w, (size_t)(c - w->clients), NULL, 0);
}

/* The client's identity is made of its keys, so it is a responder's as well. */
void wireguard_respond(struct wireguard *w, size_t client)
{
	struct wireguard_client *c = client_of(w, client);
	uint64_t number = ++w->moments;
	uint32_t index = (uint32_t)number * INDEX_STEP;
	uint8_t key[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	struct wg_responder responder;
	struct noise_keypair ephemeral;
	struct noise_keys secrets;
	must(wg_read_static(&responder, &c->identity, c->got, key) &&
		     wg_read_timestamp(&responder, c->remote.static_static, c->got, timestamp),
	     "an initiation that was checked");
	key_derive(ephemeral.private_key, KEY_SIZE, NULL, 0, "harness wireguard ephemeral", &number, sizeof number);
	noise_public_key(ephemeral.private_key, ephemeral.public_key);
	must(wg_write_response(&responder, c->remote.preshared_key, index, &ephemeral, c->response, &secrets),
	     "response");
	transport_key_free(c->next.key);
	c->next = (struct wireguard_key){
		.index = index,
		.key = transport_key_new_wireguard(w->engine, 0, &secrets, TRANSPORT_GATEWAY, responder.peer_index,
						   clock_monotonic(w->h->gateway.node.clock)),
	};
	must(c->next.key != NULL, "key");
}

/* The client's cookie is its public key's beginning. */
static bool has_mac2(const struct wireguard_client *c, const uint8_t *message)
{
	uint8_t mac2[MAC_SIZE];
	wg_mac(mac2, c->identity.keys.public_key, COOKIE_SIZE, message, WG_INITIATION_SIZE - MAC_SIZE);
	return memcmp(mac2, message + WG_INITIATION_SIZE - MAC_SIZE, MAC_SIZE) == 0;
}

static void send_cookie(struct wireguard *w, struct wireguard_client *c)
{
	uint8_t nonce[COOKIE_NONCE_SIZE], reply[WG_COOKIE_REPLY_SIZE];
	randombytes_buf(nonce, sizeof nonce);
	wg_write_cookie_reply(&c->identity, c->got, sizeof c->got, c->identity.keys.public_key, nonce, reply);
	wireguard_send_raw(w, (size_t)(c - w->clients), reply, sizeof reply);
}

static bool check_initiation(const struct wireguard *w, struct wireguard_client *c, const uint8_t *message)
{
	struct wg_responder responder;
	uint8_t key[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	if (!wg_check_mac1(&c->identity, message, WG_INITIATION_SIZE) ||
	    !wg_read_static(&responder, &c->identity, message, key) ||
	    memcmp(key, w->h->gateway.wireguard.keys.public_key, KEY_SIZE) != 0 ||
	    !wg_read_timestamp(&responder, c->remote.static_static, message, timestamp) ||
	    !wg_timestamp_is_newer(timestamp, c->newest))
		return false;
	memcpy(c->newest, timestamp, sizeof timestamp);
	return true;
}

static void take_initiation(struct wireguard *w, struct wireguard_client *c, const uint8_t *message, uint32_t length)
{
	if (length != WG_INITIATION_SIZE || !check_initiation(w, c, message)) {
		c->refused++;
		return;
	}
	memcpy(c->got, message, sizeof c->got);
	c->initiations++;
	c->proven += has_mac2(c, message);
	if (!c->responds)
		return;
	if (c->demands_cookie && !has_mac2(c, message)) {
		send_cookie(w, c);
		return;
	}
	wireguard_respond(w, (size_t)(c - w->clients));
	wireguard_send_raw(w, (size_t)(c - w->clients), c->response, sizeof c->response);
}

static void take_cookie_reply(struct wireguard_client *c, const uint8_t *message, uint32_t length)
{
	bool good = length == WG_COOKIE_REPLY_SIZE && c->waits &&
		    wg_read_cookie_reply(c->remote.cookie_key, c->initiator.index, c->initiator.mac1, message,
					 c->cookie);
	c->has_cookie |= good;
	c->cookies += good;
	c->refused += !good;
}

static void keep_packet(struct wireguard *w, struct wireguard_client *c, uint8_t *plaintext, uint32_t length)
{
	struct inner inner;
	must(inner_parse_padded(&inner, plaintext, length), "the gateway sends what is no packet");
	for (uint32_t i = inner.length; i < length; i++)
		must(plaintext[i] == 0, "padding is zero");
	struct wireguard_packet *packet = malloc(sizeof *packet + inner.length);
	must(packet != NULL, "memory");
	*packet = (struct wireguard_packet){.client = (size_t)(c - w->clients), .length = inner.length};
	memcpy(packet->data, plaintext, inner.length);
	*w->last = packet;
	w->last = &packet->next;
	c->packets++;
}

static void take_data(struct wireguard *w, struct wireguard_client *c, uint8_t *message, uint32_t length)
{
	uint32_t index = wg_receiver(message, WG_DATA);
	bool next = c->next.key != NULL && c->next.index == index;
	struct transport_key *key = c->current.key != NULL && c->current.index == index	    ? c->current.key
				    : c->previous.key != NULL && c->previous.index == index ? c->previous.key
				    : next						    ? c->next.key
											    : NULL;
	struct message_head head;
	struct aead_op op;
	wg_head_read(&head, message);
	if (key != NULL) {
		transport_open_op(&op, &head, message, length);
		transport_open(w->engine, key, &op, 1);
	}
	if (key == NULL || !op.authentic || transport_accept(w->engine, key, &op) == REPLAY_REJECT)
		c->refused++;
	else if (op.length == 0)
		c->keepalives++;
	else
		keep_packet(w, c, op.output, op.length);
	if (next && op.authentic) {
		transport_key_free(c->previous.key);
		c->previous = c->current;
		c->current = c->next;
		c->next = (struct wireguard_key){0};
	}
}

/* By the address that it came to, any port. */
static struct wireguard_client *receiver_of(struct wireguard *w, const struct in6_addr *address)
{
	for (size_t i = 0; i < w->count; i++) {
		if (memcmp(&w->clients[i].address.sin6_addr, address, sizeof *address) == 0)
			return &w->clients[i];
	}
	return NULL;
}

static void take_datagram(struct wireguard *w, struct wireguard_client *c, uint8_t *message, uint32_t length)
{
	switch (length >= WG_DATA_MIN ? wg_type(message, length) : 0) {
	case WG_INITIATION:
		take_initiation(w, c, message, length);
		break;
	case WG_RESPONSE:
		take_response(w, c, message, length);
		break;
	case WG_COOKIE_REPLY:
		take_cookie_reply(c, message, length);
		break;
	case WG_DATA:
		take_data(w, c, message, length);
		break;
	default:
		c->refused++;
	}
}

bool wireguard_receive(struct wireguard *w)
{
	uint8_t *buffer = malloc(UDP_MESSAGE_MAX);
	bool any = false;
	must(buffer != NULL, "memory");
	struct udp_message message = {.data = buffer};
	while (w->link.base.ops->receive(&w->link.base, &message, 1) == 1) {
		struct wireguard_client *c = receiver_of(w, &message.endpoint.local);
		struct udp_datagrams datagrams = udp_datagrams(&message);
		any = true;
		while (c != NULL && udp_datagrams_next(&datagrams))
			take_datagram(w, c, datagrams.data, datagrams.length);
		message = (struct udp_message){.data = buffer};
	}
	free(buffer);
	return any;
}

void wireguard_pump(struct wireguard *w)
{
	do
		harness_pump(w->h);
	while (wireguard_receive(w));
}

void wireguard_advance(struct wireguard *w, uint64_t ns)
{
	wireguard_pump(w);
	while (ns > 0) {
		uint64_t step = ns < WORKER_TICK_NS ? ns : WORKER_TICK_NS;
		w->h->clock.monotonic += step;
		w->h->clock.wall += step;
		ns -= step;
		wireguard_pump(w);
	}
}

struct wireguard_packet *wireguard_take(struct wireguard *w, size_t client)
{
	for (struct wireguard_packet **at = &w->first; *at != NULL; at = &(*at)->next) {
		struct wireguard_packet *packet = *at;
		if (packet->client != client)
			continue;
		*at = packet->next;
		if (packet->next == NULL)
			w->last = at;
		return packet;
	}
	return NULL;
}

size_t wireguard_waiting(const struct wireguard *w)
{
	size_t count = 0;
	for (const struct wireguard_packet *packet = w->first; packet != NULL; packet = packet->next)
		count++;
	return count;
}

/* --- packets ------------------------------------------------------------------------------------------------------ */

struct packet_spec wireguard_spec(struct wireguard *w, size_t client, enum direction direction, uint8_t version,
				  uint8_t protocol)
{
	const struct wireguard_client *c = client_of(w, client);
	return spec_between((version == 4 ? &c->inner4 : &c->inner6)->address.bytes, client, direction, version,
			    protocol);
}

static bool came(const uint8_t *got, size_t got_length, const uint8_t *packet, size_t length)
{
	return got != NULL && got_length == length && memcmp(got, packet, length) == 0;
}

void wireguard_put(struct wireguard *w, size_t client, uint8_t text)
{
	uint8_t packet[256], payload[64];
	struct packet_spec spec = wireguard_spec(w, client, TO_CLIENT, 4, IPPROTO_UDP);
	memset(payload, text, sizeof payload);
	node_put_packet(&w->h->gateway.node, packet, packet_build(&spec, payload, sizeof payload, packet));
}

bool wireguard_ping(struct wireguard *w, size_t client, enum direction direction)
{
	struct node *gateway = &w->h->gateway.node;
	struct packet_spec spec = wireguard_spec(w, client, direction, 4, IPPROTO_UDP);
	uint8_t packet[256], payload[64];
	spec.id = (uint16_t)++w->moments;
	memset(payload, (int)client, sizeof payload);
	size_t length = packet_build(&spec, payload, sizeof payload, packet);
	if (direction == TO_GATEWAY) {
		size_t got_length = 0;
		wireguard_send(w, client, packet, (uint32_t)length);
		wireguard_pump(w);
		const uint8_t *got = node_take_packet(gateway, &got_length);
		return came(got, got_length, packet, length) && node_waiting(gateway) == 0;
	}
	node_put_packet(gateway, packet, length);
	wireguard_pump(w);
	struct wireguard_packet *got = wireguard_take(w, client);
	bool right = got != NULL && came(got->data, got->length, packet, length) && wireguard_waiting(w) == 0;
	free(got);
	return right;
}
