// SPDX-License-Identifier: Apache-2.0
/* Peers that speak WireGuard: the address that they have before they connect, walks through them, reloads, and that the
 * own protocol does not know them. */
#include "core/gateway/sessions.h"
#include "tests/harness/unit.h"
#include "tests/unit/wireguard_gateway.h"

#define KEY_C "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA="
#define KEY_D "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDA="
/* The same first eight bytes as KEY_C's: they choose the same address. */
#define KEY_E "CCCCCCCCCCCDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDA="

/* --- addresses ---------------------------------------------------------------------------------------------------- */

Test(wireguard_peers, have_an_address_that_follows_from_their_key)
{
	char first[IP_TEXT_MAX], second[IP_TEXT_MAX];
	gateway_begin(SERVED PEER(KEY_A) PEER(KEY_C) WIREGUARD PEER(KEY_D) WIREGUARD);
	cr_expect_eq(find_peer(KEY_A)->fixed_index, POOL_NONE, "the own protocol has no need of one");
	strcpy(first, held_address(KEY_C));
	strcpy(second, held_address(KEY_D));
	cr_expect_str_neq(first, second);
	registry_deinit(&registry);
	config_free_gateway(config);

	/* Other peers around them, in another order: the same addresses. */
	struct error error = {0};
	write_file(conf, SERVED PEER(KEY_D) WIREGUARD PEER(KEY_B) WIREGUARD PEER(KEY_C) WIREGUARD);
	cr_assert_eq(config_load_gateway(conf, &config, &error), 0, "%s", error.text);
	running.config = config;
	load_registry();
	cr_expect_str_eq(held_address(KEY_C), first);
	cr_expect_str_eq(held_address(KEY_D), second);
	struct session *session = connect_peer(KEY_C);
	cr_expect_str_eq(ip_address_format(&session->inner4.address, first), held_address(KEY_C));
	disconnect(session);
	cr_expect_str_eq(held_address(KEY_C), first, "it keeps it");
	gateway_end();
}

Test(wireguard_peers, give_way_to_configured_addresses)
{
	char text[1024], taken[IP_TEXT_MAX];
	gateway_begin(SERVED PEER(KEY_C) WIREGUARD);
	strcpy(taken, held_address(KEY_C));
	registry_deinit(&registry);
	config_free_gateway(config);

	struct error error = {0};
	snprintf(text, sizeof text,
		 SERVED PEER(KEY_C) WIREGUARD PEER(KEY_E) WIREGUARD PEER(KEY_D) WIREGUARD "Address = %s\n", taken);
	write_file(conf, text);
	cr_assert_eq(config_load_gateway(conf, &config, &error), 0, "%s", error.text);
	running.config = config;
	load_registry();
	cr_expect_str_eq(held_address(KEY_D), taken);
	cr_expect_str_neq(held_address(KEY_C), taken);
	uint32_t next = find_peer(KEY_C)->fixed_index;
	cr_expect_eq(find_peer(KEY_E)->fixed_index, next + 1, "and the one that would have the same gets the next");
	gateway_end();
}

Test(wireguard_peers, more_than_there_are_addresses_are_an_error)
{
	static const char text[] = GATEWAY "Address = 10.8.0.1/30\nWireGuard = yes\n" PEER(KEY_C) WIREGUARD;
	gateway_begin(text);
	cr_expect_str_eq(held_address(KEY_C), "10.8.0.2");
	uint8_t key[KEY_SIZE] = {9}, psk[KEY_SIZE] = {0};
	const struct registry_peer more = {.public_key = key, .preshared_key = psk, .protocol = PEER_WIREGUARD};
	struct error error = {0};
	cr_expect_eq(registry_add_peer(&registry, &more, &error), -EADDRINUSE);
	cr_expect_str_eq(error.text, "Address: none is left in the pool; give it a larger network");
	gateway_end();
}

Test(wireguard_peers, a_key_is_for_one_protocol)
{
	gateway_begin(SERVED PEER(KEY_A) PEER(KEY_C) WIREGUARD);
	static const struct {
		const char *key;
		enum peer_protocol protocol;
		const char *text;
	} cases[] = {{KEY_A, PEER_WIREGUARD, "PublicKey: a peer with another Protocol has this key"},
		     {KEY_C, PEER_SHARDTUN, "PublicKey: a peer with another Protocol has this key"},
		     {KEY_C, PEER_WIREGUARD, "PublicKey: this peer is there already"},
		     {KEY_A, PEER_SHARDTUN, "PublicKey: this peer is there already"}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t key[KEY_SIZE], psk[KEY_SIZE] = {0};
		struct error error = {0};
		cr_assert(key_parse(cases[i].key, key));
		const struct registry_peer peer = {
			.public_key = key, .preshared_key = psk, .protocol = cases[i].protocol};
		cr_expect_eq(registry_add_peer(&registry, &peer, &error), -EEXIST);
		cr_expect_eq(strncmp(error.text, cases[i].text, strlen(cases[i].text)), 0, "%s", error.text);
	}
	gateway_end();
}

Test(wireguard_peers, are_unknown_to_the_own_protocol)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	uint8_t psk[KEY_SIZE] = {0};
	const struct registry_peer peer = {
		.public_key = h->clients[1].identity.keys.public_key, .preshared_key = psk, .protocol = PEER_WIREGUARD};
	cr_assert_eq(registry_add_peer(&h->gateway.registry, &peer, NULL), 0);
	harness_connect(h, 1);
	harness_pump(h);
	cr_expect_eq(gateway_drops(h, DROP_UNKNOWN_PEER), 1);
	cr_expect_eq(atomic_load(&harness_peer(h, 1)->static_static_state), 0, "what is cached is for the other key");
	finish(h);
}

/* --- at run time -------------------------------------------------------------------------------------------------- */

static json_t *peer_command(char *words[], size_t count, struct error *error)
{
	for (size_t i = 0; i < gateway_command_count; i++) {
		if (strcmp(gateway_commands[i].name, "peer") == 0)
			return gateway_commands[i].handler(&own_daemon, words, count, error);
	}
	return NULL;
}

Test(wireguard_peers, peer_add_says_which_address_is_reserved)
{
	char add[] = "add", key[] = KEY_C, option[] = "--protocol", wireguard[] = "wireguard", none[] = "none";
	char *words[] = {add, key, option, wireguard}, *wrong[] = {add, key, option, none};
	struct error error = {0};
	gateway_begin(SERVED PEER(KEY_A));
	cr_expect_null(peer_command(wrong, ARRAY_SIZE(wrong), &error));
	cr_expect_str_eq(error.text, "--protocol none: neither 'shardtun' nor 'wireguard'");
	json_t *answer = peer_command(words, ARRAY_SIZE(words), &error);
	cr_assert_not_null(answer, "%s", error.text);
	const json_t *addresses = json_object_get(answer, "addresses");
	cr_assert_eq(json_array_size(addresses), 2);
	cr_expect_str_eq(json_string_value(json_array_get(addresses, 0)), held_address(KEY_C));
	json_decref(answer);

	struct session *session = connect_peer(KEY_C), *other = connect_peer(KEY_A);
	json_t *shown = gateway_session_describe(&registry.table, session, NS_PER_S);
	cr_expect_str_eq(json_string_value(json_object_get(shown, "protocol")), "wireguard");
	json_decref(shown);
	shown = gateway_session_describe(&registry.table, other, NS_PER_S);
	cr_expect_str_eq(json_string_value(json_object_get(shown, "protocol")), "shardtun");
	json_decref(shown);
	disconnect(session);
	disconnect(other);

	secret_free((void *)running.wireguard_keys);
	running.wireguard_keys = NULL;
	cr_expect_null(peer_command(words, ARRAY_SIZE(words), &error));
	cr_expect_eq(strncmp(error.text, "the gateway does not serve WireGuard", 36), 0, "%s", error.text);
	gateway_end();
}

/* --- walks -------------------------------------------------------------------------------------------------------- */

static void add_numbered(uint8_t number)
{
	uint8_t key[KEY_SIZE] = {number, [31] = 1}, psk[KEY_SIZE] = {0};
	const struct registry_peer peer = {.public_key = key, .preshared_key = psk, .protocol = PEER_WIREGUARD};
	cr_assert_eq(registry_add_peer(&registry, &peer, NULL), 0);
}

static void remove_numbered(uint8_t number)
{
	uint8_t key[KEY_SIZE] = {number, [31] = 1};
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&registry, key, ids));
}

static int next_number(struct peer_link *walk)
{
	struct peer *peer = peer_walk_next(walk, &registry.peers.wireguard);
	return peer != NULL ? peer->public_key[0] : -1;
}

Test(wireguard_peers, a_walk_meets_each_once_while_others_come_and_go)
{
	struct peer_link walk, other;
	gateway_begin(SERVED PEER(KEY_A));
	peer_walk_begin(&walk, &registry.peers.wireguard);
	cr_expect_eq(next_number(&walk), -1, "the own protocol's are not in it");
	for (uint8_t i = 1; i <= 6; i++)
		add_numbered(i);
	cr_expect_eq(next_number(&walk), 1);
	peer_walk_begin(&other, &registry.peers.wireguard);
	cr_expect_eq(next_number(&walk), 2);
	remove_numbered(2); /* where the walk is */
	remove_numbered(3); /* the next one */
	cr_expect_eq(next_number(&other), 1, "two walks do not disturb each other");
	cr_expect_eq(next_number(&other), 4);
	cr_expect_eq(next_number(&walk), 4);
	cr_expect_eq(next_number(&walk), 5);
	remove_numbered(1);
	remove_numbered(4);
	remove_numbered(5);
	remove_numbered(6);
	add_numbered(7);
	cr_expect_eq(next_number(&walk), 7);
	cr_expect_eq(next_number(&walk), -1);
	cr_expect_eq(next_number(&walk), -1);
	peer_walk_end(&walk);
	cr_expect_eq(next_number(&other), 7);
	peer_walk_end(&other);
	gateway_end();
}

/* --- reload ------------------------------------------------------------------------------------------------------- */

static struct gateway_reload_result reload(const char *text)
{
	struct gateway_reload read;
	struct gateway_reload_result result;
	struct error error = {0};
	write_file(conf, text);
	gateway_reload_read(&running, &read);
	int code = gateway_reload_apply(&running, &read, &result, &error);
	gateway_reload_free(&read);
	cr_assert_eq(code, 0, "%s", error.text);
	return result;
}

#define CHANGES(result, a, r, c, u)                                                                                   \
	cr_expect((result).peers.added == (a) && (result).peers.removed == (r) && (result).peers.changed == (c) &&    \
			  (result).peers.unchanged == (u),                                                            \
		  "%zu added, %zu removed, %zu changed, %zu unchanged", (result).peers.added, (result).peers.removed, \
		  (result).peers.changed, (result).peers.unchanged)

Test(wireguard_peers, a_reload_follows_endpoint_and_keepalive_without_ending_a_session)
{
	gateway_begin(SERVED PEER(KEY_C) WIREGUARD PEER(KEY_D) WIREGUARD "Endpoint = x.example:7\n");
	struct session *session = connect_peer(KEY_C);
	char address[IP_TEXT_MAX];
	strcpy(address, held_address(KEY_C));
	const struct contact *contact = peer_contact(find_peer(KEY_D));
	cr_assert_not_null(contact);
	cr_expect_str_eq(contact->host, "x.example");
	cr_expect_eq(ntohs(contact->endpoint.sin6_port), 7);

	struct gateway_reload_result result = reload(SERVED PEER(
		KEY_C) WIREGUARD "Endpoint = 192.0.2.9:51820\nPersistentKeepalive = 25\n" PEER(KEY_D) WIREGUARD);
	CHANGES(result, 0, 0, 0, 2);
	cr_expect_eq(ended_count, 0);
	char text[ENDPOINT_TEXT_MAX];
	contact = peer_contact(find_peer(KEY_C));
	cr_expect_str_eq(sockaddr_format(&contact->endpoint, text), "192.0.2.9:51820");
	cr_expect_null(contact->host);
	cr_expect_eq(contact->keepalive, 25);
	contact = peer_contact(find_peer(KEY_D));
	cr_expect(contact->endpoint.sin6_family == 0 && contact->host == NULL);
	cr_expect_str_eq(held_address(KEY_C), address);

	/* A peer that is added does not move those that are there. */
	result = reload(SERVED PEER(KEY_E) WIREGUARD PEER(KEY_D) WIREGUARD PEER(KEY_C) WIREGUARD
			"Address = 10.8.0.77\n");
	CHANGES(result, 1, 0, 1, 1);
	cr_expect_geq(ended_count, 1);
	disconnect(session);
	gateway_end();
}

Test(wireguard_peers, another_protocol_is_another_peer)
{
	gateway_begin(SERVED PEER(KEY_C));
	struct session *session = connect_peer(KEY_C);
	struct gateway_reload_result result = reload(SERVED PEER(KEY_C) WIREGUARD);
	CHANGES(result, 0, 0, 1, 0);
	cr_expect(ended_count >= 1 && ended[0] == session->id);
	disconnect(session);
	cr_expect_eq(peer_protocol(find_peer(KEY_C)), PEER_WIREGUARD);
	cr_expect_not_null(held_address(KEY_C));
	result = reload(SERVED PEER(KEY_C));
	CHANGES(result, 0, 0, 1, 0);
	cr_expect_eq(find_peer(KEY_C)->fixed_index, POOL_NONE);
	gateway_end();
}

Test(wireguard_peers, a_reload_names_what_needs_a_restart)
{
	gateway_begin(SERVED);
	struct gateway_reload_result result = reload(POOL);
	cr_assert_eq(result.restart_count, 1);
	cr_expect_str_eq(result.restart[0], "WireGuard");
	char path[80];
	snprintf(path, sizeof path, "%s/wg.key", directory);
	write_file(path, KEY_A);
	result = reload(SERVED "WireGuardPrivateKeyFile = wg.key\n");
	cr_assert_eq(result.restart_count, 1);
	cr_expect_str_eq(result.restart[0], "WireGuardPrivateKeyFile");
	unlink(path);
	gateway_end();
}
