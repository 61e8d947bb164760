// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/wireguard_get.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define RELAXED(word) atomic_load_explicit(&(word), memory_order_relaxed)

enum { ITEM_MAX = 1024 /* a peer without its networks, or one of these */ };

struct wireguard_get {
	const struct gateway_running *running;
	const struct clock *clock;
	struct peer_link walk;
	bool begun, ended;
	/* A peer with more networks than a piece has room for; looked up anew for each, for it may be gone. */
	bool inside;
	uint8_t public_key[KEY_SIZE];
	uint32_t network; /* the next one */
};

struct piece {
	char *text;
	size_t length;
};

static void PRINTF_LIKE(2, 3) put(struct piece *piece, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int length = vsnprintf(piece->text + piece->length, WIREGUARD_GET_PIECE - piece->length, format, args);
	va_end(args);
	piece->length += (size_t)length; /* ITEM_MAX is more than there is in a peer */
}

static void put_key(struct piece *piece, const char *name, const uint8_t key[KEY_SIZE])
{
	char hex[2 * KEY_SIZE + 1];
	put(piece, "%s=%s\n", name, sodium_bin2hex(hex, sizeof hex, key, KEY_SIZE));
	sodium_memzero(hex, sizeof hex);
}

/* --- a peer ------------------------------------------------------------------------------------------------------- */

/* Where its client is, or where it is configured to be; its words may be of two endpoints while a client moves. */
static void put_endpoint(struct piece *piece, const struct session *session, const struct contact *contact)
{
	struct sockaddr_in6 endpoint = {0};
	char text[ENDPOINT_TEXT_MAX];
	if (session != NULL && RELAXED(session->view.remote[2]) != 0) {
		uint64_t words[2] = {RELAXED(session->view.remote[0]), RELAXED(session->view.remote[1])};
		endpoint.sin6_port = (in_port_t)RELAXED(session->view.remote[2]);
		memcpy(&endpoint.sin6_addr, words, sizeof words);
	} else if (contact_has_address(contact)) {
		endpoint = contact->endpoint;
	}
	if (endpoint.sin6_port != 0)
		put(piece, "endpoint=%s\n", sockaddr_format(&endpoint, text));
}

/* Seconds since 1970 of the moment `then` on the monotonic clock; 0: there was none. */
static uint64_t wall_seconds(const struct clock *clock, uint64_t then)
{
	uint64_t ago = clock_monotonic(clock) - then, wall = clock_wall(clock);
	return then != 0 && wall > ago ? (wall - ago) / NS_PER_S : 0;
}

static void put_traffic(struct piece *piece, const struct clock *clock, const struct session *session)
{
	uint64_t keyed = session != NULL ? RELAXED(session->view.keyed) : 0;
	uint64_t rx = session != NULL ? RELAXED(session->view.rx_bytes) : 0;
	uint64_t tx = session != NULL ? RELAXED(session->view.tx_bytes) : 0;
	put(piece,
	    "last_handshake_time_sec=%" PRIu64 "\nlast_handshake_time_nsec=0\nrx_bytes=%" PRIu64 "\ntx_bytes=%" PRIu64
	    "\n",
	    wall_seconds(clock, keyed), rx, tx);
}

/* Its own addresses are the first of its allowed IPs. */
static void put_addresses(struct piece *piece, const struct registry *registry, const struct peer *peer)
{
	struct ip_prefix address4, address6;
	char text[IP_TEXT_MAX];
	if (peer->fixed_index == POOL_NONE)
		return;
	pool_addresses(&registry->pool, peer->fixed_index, &address4, &address6);
	if (address4.address.family != 0)
		put(piece, "allowed_ip=%s/32\n", ip_address_format(&address4.address, text));
	if (address6.address.family != 0 && !registry->no_ipv6)
		put(piece, "allowed_ip=%s/128\n", ip_address_format(&address6.address, text));
}

static void put_peer(struct piece *piece, const struct wireguard_get *get, const struct peer *peer)
{
	struct registry *registry = get->running->registry;
	const struct session *session = registry_peer_session(registry, peer);
	const struct contact *contact = peer_contact(peer);
	uint8_t preshared_key[KEY_SIZE];
	put_key(piece, "public_key", peer->public_key);
	peer_preshared_key(peer, preshared_key);
	put_key(piece, "preshared_key", preshared_key);
	sodium_memzero(preshared_key, sizeof preshared_key);
	put(piece, "protocol_version=1\n");
	put_endpoint(piece, session, contact);
	put_traffic(piece, get->clock, session);
	put(piece, "persistent_keepalive_interval=%u\n", contact != NULL ? contact->keepalive : 0);
	put_addresses(piece, registry, peer);
}

static bool has_room(const struct piece *piece)
{
	return WIREGUARD_GET_PIECE - piece->length >= ITEM_MAX;
}

/* The networks of the peer that was begun, as far as there is room. */
static void put_networks(struct piece *piece, struct wireguard_get *get)
{
	const struct peer *peer = peers_find(&get->running->registry->peers, get->public_key);
	char text[IP_TEXT_MAX];
	const struct peer_networks *networks = peer != NULL ? peer_networks(peer) : NULL;
	while (networks != NULL && get->network < networks->count && has_room(piece))
		put(piece, "allowed_ip=%s\n", ip_prefix_format(&networks->items[get->network++], text));
	get->inside = networks != NULL && get->network < networks->count;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

static void put_next(struct piece *piece, struct wireguard_get *get)
{
	if (get->inside) {
		put_networks(piece, get);
		return;
	}
	const struct peer *peer = peer_walk_next(&get->walk, &get->running->registry->peers.wireguard);
	if (peer == NULL) {
		put(piece, "errno=0\n\n");
		get->ended = true;
		return;
	}
	put_peer(piece, get, peer);
	memcpy(get->public_key, peer->public_key, KEY_SIZE);
	get->network = 0;
	get->inside = peer_has_networks(peer);
}

struct wireguard_get *wireguard_get_new(const struct gateway_running *running, const struct clock *clock)
{
	struct wireguard_get *get = calloc(1, sizeof *get);
	if (get == NULL)
		return NULL;
	get->running = running;
	get->clock = clock;
	peer_walk_begin(&get->walk, &running->registry->peers.wireguard);
	return get;
}

char *wireguard_get_next(struct wireguard_get *get, size_t *length)
{
	struct piece piece = {0};
	if (get->ended || (piece.text = malloc(WIREGUARD_GET_PIECE)) == NULL)
		return NULL;
	if (!get->begun)
		put(&piece, "listen_port=%u\n", get->running->config->listen_port);
	get->begun = true;
	while (!get->ended && has_room(&piece))
		put_next(&piece, get);
	*length = piece.length;
	return piece.text;
}

void wireguard_get_free(struct wireguard_get *get)
{
	if (get == NULL)
		return;
	peer_walk_end(&get->walk);
	free(get);
}
