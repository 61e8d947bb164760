// SPDX-License-Identifier: Apache-2.0
/* What a gateway in a cluster answers about peers before its agent adds them in etcd, and after. */
#include "core/gateway/control.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cluster/sealed_psk.h"
#include "core/daemon/daemon.h"
#include "core/gateway/cluster.h"
#include "core/gateway/reload.h"
#include "tests/unit/control_words.h"

#define KEY_1 "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define KEY_2 "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define PSK   "AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static struct registry registry;
static struct cluster cluster;
static struct gateway_running running;
static struct handshake_identity identity;
static struct gateway_config config;
static struct ip_prefix own[2];
static struct daemon own_daemon;

/* One peer, with 10.8.0.9. */
static void begin(void)
{
	uint8_t key[KEY_SIZE], none[KEY_SIZE] = {0};
	struct registry_peer peer = {.public_key = key, .preshared_key = none};
	struct error error = {0};
	cr_assert(keys_init(NULL) == 0 && ip_prefix_parse("10.8.0.1/16", &own[0]) &&
		  ip_prefix_parse("fd00::3/64", &own[1]));
	rcu_join();
	config.addresses = (struct config_prefixes){.items = own, .count = 2};
	identity.keys.private_key[0] = 7;
	const struct registry_params params = {
		.addresses = own, .address_count = 2, .max_sessions = 16, .workers = 1, .expected_peers = 8};
	cr_assert_eq(registry_init(&registry, &params, NULL), 0);
	cr_assert(key_parse(KEY_1, key) && ip_address_parse("10.8.0.9", &peer.address));
	cr_assert_eq(registry_add_peer(&registry, &peer, &error), 0, "%s", error.text);
	running = (struct gateway_running){
		.config = &config, .identity = &identity, .registry = &registry, .cluster = &cluster};
	own_daemon.params.context = &running;
}

static void end(void)
{
	registry_deinit(&registry);
	rcu_leave();
}

TestSuite(control_cluster, .init = begin, .fini = end);

static json_t *command(const char *line, struct error *error)
{
	return control_words_answer(gateway_commands, gateway_command_count, &own_daemon, line, error);
}

static void refuses(const char *line, const char *text)
{
	struct error error = {0};
	cr_assert_null(command(line, &error), "%s", line);
	cr_assert_not_null(strstr(error.text, text), "%s: %s", line, error.text);
}

static void answers(const char *line, const char *expected)
{
	struct error error = {0};
	json_t *answer = command(line, &error);
	char *text = json_dumps(answer, JSON_COMPACT);
	cr_assert(text != NULL && strcmp(text, expected) == 0, "%s: %s %s", line, text, error.text);
	free(text);
	json_decref(answer);
}

#define POOL "\"pool\":{\"size\":65536,\"reserved\":[0,1,65535,3]}"

Test(control_cluster, a_peer_is_checked_and_not_added)
{
	answers("cluster-check " KEY_2, "{" POOL "}");
	answers("cluster-check " KEY_2 " --address 10.8.1.0 --name ann --allowed-ips 10.9.0.0/16 --rate-up 8M",
		"{\"index\":256," POOL "}");
	answers("cluster-check " KEY_2 " --address fd00::100", "{\"index\":256," POOL "}");
	cr_assert_eq(peers_count(&registry.peers), 1);
	refuses("cluster-check", "cluster-check wants a public key");
	refuses("cluster-check x", "key");
	refuses("cluster-check " KEY_2 " --address 10.8.0.1", "none that the pool can give out");
	refuses("cluster-check " KEY_2 " --address 10.9.0.1", "none that the pool can give out");
	refuses("cluster-check " KEY_2 " --allowed-ips 10.8.0.0/24", "overlaps the pool");
	refuses("cluster-check " KEY_2 " --protocol wireguard", "does not serve WireGuard");
	refuses("cluster-check " KEY_2 " --rate-up fast", "--rate-up fast: ");
}

Test(control_cluster, a_pre_shared_key_is_sealed_for_its_peer)
{
	struct error error = {0};
	uint8_t peer[KEY_SIZE], expected[KEY_SIZE], opened[KEY_SIZE];
	json_t *answer = command("cluster-check " KEY_2 " --psk " PSK, &error);
	const char *sealed = json_string_value(json_object_get(answer, "psk"));
	cr_assert_not_null(sealed, "%s", error.text);
	cr_assert(key_parse(KEY_2, peer) && key_parse(PSK, expected));
	cr_assert(sealed_psk_read(identity.keys.private_key, peer, sealed, opened));
	cr_assert_arr_eq(opened, expected, KEY_SIZE);
	cr_assert(key_parse(KEY_1, peer));
	cr_assert_not(sealed_psk_read(identity.keys.private_key, peer, sealed, opened), "for another one");
	json_decref(answer);
}

Test(control_cluster, addresses_are_those_of_a_peer_that_is_known)
{
	answers("cluster-addresses " KEY_1, "{\"addresses\":[\"10.8.0.9\",\"fd00::9\"]}");
	refuses("cluster-addresses " KEY_2, "there is no such peer here");
	refuses("cluster-addresses", "cluster-addresses wants a public key");
}

Test(control_cluster, a_gateway_in_a_cluster_takes_no_peers_and_one_alone_checks_none)
{
	refuses("peer add " KEY_2, "in a cluster, whose peers are in etcd: shardtunctl peer add");
	refuses("peer del " KEY_1, "in a cluster, whose peers are in etcd: shardtunctl peer del");
	cr_assert_eq(peers_count(&registry.peers), 1);
	running.cluster = NULL;
	refuses("cluster-check " KEY_2, "in no cluster");
	refuses("cluster-addresses " KEY_1, "in no cluster");
	refuses("cluster-peers /tmp/x", "in no cluster");
}
