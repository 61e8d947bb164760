// SPDX-License-Identifier: Apache-2.0
/* What a handshake costs, step by step, and what a handshake thread can therefore do in a second: of the own protocol,
 * and of WireGuard. */
#include <sodium.h>
#include <string.h>

#include "core/protocol/wg_handshake.h"
#include "crypto/cookie.h"
#include "perf/bench/micro/micro.h"

struct bench {
	struct handshake_identity client, gateway;
	struct handshake_remote remote;
	struct handshake_initiator initiator;
	uint8_t preshared_key[KEY_SIZE], static_static[KEY_SIZE];
	struct noise_keypair ephemeral;
	uint8_t hello[WIRE_HELLO_SIZE], welcome[WIRE_WELCOME_MAX];
	size_t welcome_length;
	struct cookie_jar jar;
	uint8_t address[16], cookie[COOKIE_SIZE], mac2[MAC_SIZE];

	struct handshake_identity wg_peer, wg_gateway;
	struct handshake_remote wg_remote;
	struct wg_initiator wg_initiator;
	uint8_t initiation[WG_INITIATION_SIZE], response[WG_RESPONSE_SIZE];
};

enum { HELLO_BEFORE_MAC2 = WIRE_HELLO_SIZE - MAC_SIZE };

static void must(bool success)
{
	if (!success)
		abort();
}

static void dh(void *context)
{
	struct bench *bench = context;
	must(noise_dh(bench->gateway.keys.private_key, bench->client.keys.public_key, bench->static_static));
}

static void write_hello(void *context)
{
	struct bench *bench = context;
	struct wire_hello hello = {.mtu = 1420, .suites = {1}};
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	randombytes_buf(random, sizeof random);
	must(handshake_write_hello(&bench->initiator, &bench->client, &bench->remote, 0, &hello, random, bench->hello));
}

static void check_mac1(void *context)
{
	struct bench *bench = context;
	must(handshake_check_mac1(&bench->gateway, bench->hello));
}

static void make_cookie(void *context)
{
	struct bench *bench = context;
	cookie_make(&bench->jar, bench->address, 5555, NS_PER_S, bench->cookie);
}

static void seal_cookie(void *context)
{
	struct bench *bench = context;
	static const uint8_t nonce[COOKIE_NONCE_SIZE], mac1[MAC_SIZE];
	uint8_t sealed[COOKIE_SEALED_SIZE];
	cookie_seal(sealed, bench->jar.secret, nonce, mac1, bench->cookie);
	MICRO_KEEP(sealed);
}

static void check_mac2(void *context)
{
	struct bench *bench = context;
	must(cookie_mac_verify(&bench->jar, bench->address, 5555, NS_PER_S, bench->mac2, bench->hello,
			       HELLO_BEFORE_MAC2));
}

static void make_ephemeral(void *context)
{
	struct bench *bench = context;
	randombytes_buf(bench->ephemeral.private_key, sizeof bench->ephemeral.private_key);
	noise_public_key(bench->ephemeral.private_key, bench->ephemeral.public_key);
}

static void answer_prepared(void *context)
{
	struct bench *bench = context;
	struct handshake_responder responder;
	struct wire_hello hello;
	struct noise_keys secrets;
	uint8_t client_key[KEY_SIZE];
	struct wire_welcome welcome = {.session_id = 1, .suite = 1, .epoch = 1, .mtu = 1420};
	welcome.address4.address = (struct ip_address){.family = 4, .bytes = {10, 8, 0, 2}};
	must(handshake_check_mac1(&bench->gateway, bench->hello));
	must(handshake_read_static(&responder, &bench->gateway, bench->hello, client_key));
	must(handshake_read_payload(&responder, bench->static_static, bench->hello, &hello));
	bench->welcome_length = handshake_write_welcome(&responder, bench->preshared_key, &welcome, &bench->ephemeral,
							bench->welcome, &secrets);
	must(bench->welcome_length != 0);
}

static void read_static(void *context)
{
	struct bench *bench = context;
	struct handshake_responder responder;
	uint8_t client_key[KEY_SIZE];
	must(handshake_read_static(&responder, &bench->gateway, bench->hello, client_key));
}

static void answer_known(void *context)
{
	make_ephemeral(context);
	answer_prepared(context);
}

static void answer_stranger(void *context)
{
	dh(context);
	answer_known(context);
}

static void read_welcome(void *context)
{
	struct bench *bench = context;
	struct handshake_initiator initiator = bench->initiator;
	struct wire_welcome welcome;
	struct noise_keys secrets;
	must(handshake_read_welcome(&initiator, &bench->remote, bench->welcome, bench->welcome_length, &welcome,
				    &secrets));
}

static void wg_initiation(void *context)
{
	struct bench *bench = context;
	uint8_t ephemeral[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	randombytes_buf(ephemeral, sizeof ephemeral);
	wg_timestamp(timestamp, NS_PER_S);
	must(wg_write_initiation(&bench->wg_initiator, &bench->wg_peer, &bench->wg_remote, 1, timestamp, ephemeral,
				 bench->initiation));
}

static void wg_mac1(void *context)
{
	struct bench *bench = context;
	must(wg_check_mac1(&bench->wg_gateway, bench->initiation, sizeof bench->initiation));
}

static void wg_mac2(void *context)
{
	struct bench *bench = context;
	must(wg_check_mac2(&bench->jar, bench->address, 5555, NS_PER_S, bench->initiation, sizeof bench->initiation));
}

static void wg_static(void *context)
{
	struct bench *bench = context;
	struct wg_responder responder;
	uint8_t peer_key[KEY_SIZE];
	must(wg_read_static(&responder, &bench->wg_gateway, bench->initiation, peer_key));
}

static void wg_answer_prepared(void *context)
{
	struct bench *bench = context;
	struct wg_responder responder;
	struct noise_keys secrets;
	uint8_t peer_key[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	must(wg_check_mac1(&bench->wg_gateway, bench->initiation, sizeof bench->initiation));
	must(wg_read_static(&responder, &bench->wg_gateway, bench->initiation, peer_key));
	must(wg_read_timestamp(&responder, bench->wg_remote.static_static, bench->initiation, timestamp));
	must(wg_write_response(&responder, bench->preshared_key, 2, &bench->ephemeral, bench->response, &secrets));
}

static void wg_read(void *context)
{
	struct bench *bench = context;
	struct wg_initiator initiator = bench->wg_initiator;
	struct noise_keys secrets;
	uint32_t index;
	must(wg_read_response(&initiator, &bench->wg_remote, bench->response, &index, &secrets));
}

static void wireguard(struct bench *bench)
{
	wg_identity_init(&bench->wg_peer, bench->client.keys.private_key);
	wg_identity_init(&bench->wg_gateway, bench->gateway.keys.private_key);
	must(wg_remote_init(&bench->wg_remote, &bench->wg_peer, bench->wg_gateway.keys.public_key,
			    bench->preshared_key));
	micro_report("WireGuard peer: write initiation", wg_initiation, bench, 1, 1);
	micro_report("WireGuard gateway: mac1", wg_mac1, bench, 10, 1);
	uint8_t cookie[COOKIE_SIZE];
	cookie_make_wg(&bench->jar, bench->address, 5555, NS_PER_S, cookie);
	wg_add_mac2(cookie, bench->initiation, sizeof bench->initiation);
	micro_report("WireGuard gateway: mac2, with the cookie it needs", wg_mac2, bench, 10, 1);
	micro_report("WireGuard gateway: initiation to static key", wg_static, bench, 1, 1);
	micro_report("WireGuard gateway: to response, ephemeral prepared", wg_answer_prepared, bench, 1, 1);
	micro_report("WireGuard peer: read response", wg_read, bench, 1, 1);
}

int main(void)
{
	static struct bench bench;
	uint8_t private_key[KEY_SIZE];
	must(sodium_init() >= 0);
	randombytes_buf(private_key, sizeof private_key);
	handshake_identity_init(&bench.client, private_key);
	randombytes_buf(private_key, sizeof private_key);
	handshake_identity_init(&bench.gateway, private_key);
	must(handshake_remote_init(&bench.remote, &bench.client, bench.gateway.keys.public_key, bench.preshared_key));

	micro_report("X25519", dh, &bench, 1, 1);
	micro_report("client: write HELLO", write_hello, &bench, 1, 1);
	micro_report("gateway: mac1", check_mac1, &bench, 10, 1);
	cookie_jar_init(&bench.jar);
	micro_report("gateway: cookie of an address", make_cookie, &bench, 10, 1);
	micro_report("gateway: seal a cookie", seal_cookie, &bench, 10, 1);
	cookie_mac(bench.mac2, bench.cookie, bench.hello, HELLO_BEFORE_MAC2);
	micro_report("gateway: mac2, with the cookie it needs", check_mac2, &bench, 10, 1);
	micro_report("gateway: HELLO to static key", read_static, &bench, 1, 1);
	make_ephemeral(&bench);
	micro_report("gateway: ephemeral key pair", make_ephemeral, &bench, 1, 1);
	micro_report("gateway: HELLO to WELCOME, ephemeral prepared", answer_prepared, &bench, 1, 1);
	micro_report("gateway: HELLO to WELCOME, known peer", answer_known, &bench, 1, 1);
	micro_report("gateway: HELLO to WELCOME, first time", answer_stranger, &bench, 1, 1);
	micro_report("client: read WELCOME", read_welcome, &bench, 1, 1);
	wireguard(&bench);
	return 0;
}
