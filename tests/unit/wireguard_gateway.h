// SPDX-License-Identifier: Apache-2.0
/* A gateway that serves WireGuard clients, as far as its control thread goes: configuration, registry and peers,
 * without threads. Requests to end a session are recorded. */
#pragma once

#include <sodium.h>
#include <sys/stat.h>

#include "core/daemon/identity.h"
#include "core/gateway/control.h"
#include "tests/unit/config_files.h"

enum { ENDED_MAX = 8 };
#define SERVED	  POOL "WireGuard = yes\n" /* lines 1 to 4 */
#define WIREGUARD "Protocol = wireguard\n"

static struct registry registry;
static struct gateway_config *config;
static struct gateway_running running;
static struct daemon own_daemon;
static char directory[] = "/tmp/test_wireguard.XXXXXX", conf[64], private_key[64];
static uint32_t ended[ENDED_MAX], limited[ENDED_MAX];
static size_t ended_count, limited_count;

static inline void note_limit(void *context, uint32_t session_id)
{
	(void)context;
	cr_assert(limited_count < ENDED_MAX);
	limited[limited_count++] = session_id;
}

static inline void note_end(void *context, uint32_t session_id, enum wire_bye_reason reason)
{
	(void)context, (void)reason;
	cr_assert(ended_count < ENDED_MAX);
	ended[ended_count++] = session_id;
}

static inline void write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	cr_assert_not_null(out);
	fputs(text, out);
	fclose(out);
	cr_assert_eq(chmod(path, 0600), 0);
}

static inline void load_registry(void)
{
	struct error error = {0};
	struct registry_params params = {.addresses = config->addresses.items,
					 .address_count = config->addresses.count,
					 .max_sessions = 1 << 10,
					 .workers = 2};
	cr_assert_eq(registry_init(&registry, &params, &error), 0);
	cr_assert_eq(gateway_peers_load(&registry, config, &error), 0, "%s", error.text);
}

/* A gateway with this configuration: SERVED and what follows. */
static inline void gateway_begin(const char *text)
{
	struct error error = {0};
	cr_assert_eq(keys_init(&error), 0);
	cr_assert_not_null(mkdtemp(directory));
	snprintf(conf, sizeof conf, "%s/f", directory);
	snprintf(private_key, sizeof private_key, "%s/gw.key", directory);
	write_file(private_key, KEY_B);
	write_file(conf, text);
	rcu_join();
	cr_assert_eq(config_load_gateway(conf, &config, &error), 0, "%s", error.text);
	load_registry();
	struct noise_keypair *keys;
	running = (struct gateway_running){.config = config,
					   .identity = identity_load(&config->common, &error),
					   .registry = &registry,
					   .ender = {.end = note_end, .limit = note_limit}};
	cr_assert_eq(identity_load_wireguard(config, running.identity, &keys, &error), 0, "%s", error.text);
	running.wireguard_keys = keys;
	own_daemon.params.context = &running;
	own_daemon.clock = &clock_system;
}

static inline void gateway_end(void)
{
	registry_deinit(&registry);
	rcu_leave();
	secret_free((void *)running.wireguard_keys);
	secret_free((void *)running.identity);
	config_free_gateway(running.reread);
	config_free_gateway(config);
	unlink(conf);
	unlink(private_key);
	cr_expect_eq(rmdir(directory), 0, "nothing else is left");
}

static inline struct peer *find_peer(const char *key_text)
{
	uint8_t key[KEY_SIZE];
	cr_assert(key_parse(key_text, key));
	return peers_find(&registry.peers, key);
}

/* The IPv4 address that is held for a peer. */
static inline const char *held_address(const char *key_text)
{
	static char text[IP_TEXT_MAX];
	struct ip_prefix address4, address6;
	const struct peer *peer = find_peer(key_text);
	cr_assert_not_null(peer);
	cr_assert_neq(peer->fixed_index, POOL_NONE);
	cr_assert(pool_held(&registry.pool, peer->fixed_index));
	pool_addresses(&registry.pool, peer->fixed_index, &address4, &address6);
	return ip_address_format(&address4.address, text);
}

/* A confirmed session of the peer, as a handshake and a worker make it. */
static inline struct session *connect_peer(const char *key_text)
{
	static uint64_t moment;
	struct wire_hello hello = {0};
	uint64_t now = clock_monotonic(&clock_system);
	struct registry_request request = {.hello = &hello, .cookie = now, .now = now};
	struct registry_grant grant;
	struct peer *peer = find_peer(key_text);
	cr_assert_not_null(peer);
	store_be64(hello.timestamp, ++moment);
	cr_assert_eq(registry_begin(&registry, peer, &request, &grant), DROP_NONE);
	session_table_insert(&registry.table, grant.made);
	registry_attach(&registry, grant.made);
	session_set_active(grant.made);
	return grant.made;
}

static inline void disconnect(struct session *session)
{
	registry_detach(&registry, session);
	session_table_remove(&registry.table, session);
	registry_retire(&registry, session);
	registry_collect(&registry);
}
