// SPDX-License-Identifier: Apache-2.0
/* WireGuard clients in the gateway's file, and the key for them. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <sys/stat.h>

#include "core/daemon/identity.h"
#include "tests/unit/config_files.h"

#define SERVED	  POOL "WireGuard = yes\n" /* lines 1 to 4 */
#define WIREGUARD "Protocol = wireguard\n"

Test(config_wireguard, peers_speak_one_protocol_or_the_other)
{
	struct gateway_config *config = load_gateway(
		SERVED PEER(KEY_A) PEER(KEY_B) "Protocol = WireGuard\nEndpoint = [2001:db8::1]:51820\n"
					       "PersistentKeepalive = 25\nAddress = 10.8.0.9\n");
	cr_expect(config->wireguard);
	cr_expect_eq(config->peers[0].protocol, CONFIG_PROTOCOL_SHARDTUN);
	cr_expect_null(config->peers[0].endpoint);
	cr_expect_eq(config->peers[1].protocol, CONFIG_PROTOCOL_WIREGUARD);
	cr_expect_str_eq(config->peers[1].endpoint->host, "2001:db8::1");
	cr_expect_eq(config->peers[1].endpoint->port, 51820);
	cr_expect_eq(config->peers[1].persistent_keepalive, 25u);
	config_free_gateway(config);

	config = load_gateway(POOL PEER(KEY_A) "Protocol = shardtun\n");
	cr_expect_not(config->wireguard);
	config_free_gateway(config);
}

Test(config_wireguard, refuses_what_does_not_go_together)
{
	const struct refusal refusals[] = {
		{POOL PEER(KEY_A) WIREGUARD,
		 ":6: Protocol = wireguard: the gateway does not serve it; write WireGuard = yes in [Gateway]"},
		{POOL "WireGuard = no\n" PEER(KEY_A) PEER(KEY_B) WIREGUARD, ":9: Protocol = wireguard: the gateway"},
		{SERVED PEER(KEY_A) "Endpoint = x:1\n",
		 ":7: Endpoint: only for a peer with Protocol = wireguard; take it away, or add that"},
		{SERVED PEER(KEY_A) "PersistentKeepalive = off\n" PEER(KEY_B),
		 ":7: PersistentKeepalive: only for a peer"},
		{SERVED PEER(KEY_A) PEER(KEY_A) WIREGUARD,
		 ":8: PublicKey = " KEY_A ": the peer on line 6 has this key, and another Protocol; a key is for one"},
		{SERVED PEER(KEY_A) WIREGUARD PEER(KEY_A),
		 ":9: PublicKey = " KEY_A ": the peer on line 6 has this key, and"},
		{SERVED PEER(KEY_A) WIREGUARD PEER(KEY_A) WIREGUARD,
		 ":9: PublicKey = " KEY_A ": the peer on line 6 has this key; one [Peer] for a key"},
		{SERVED PEER(KEY_A) "Protocol = openvpn\n",
		 ":7: Protocol = openvpn: neither 'shardtun' nor 'wireguard'"},
		{SERVED PEER(KEY_A) WIREGUARD "Endpoint = 2001:db8::1\n",
		 ":8: Endpoint = 2001:db8::1: an IPv6 address"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

/* --- the key ------------------------------------------------------------------------------------------------------ */

static struct file written;

static char *key_file(const char *text)
{
	written = file_new(text, strlen(text));
	cr_assert_eq(chmod(written.path, 0600), 0);
	return written.path;
}

static struct handshake_identity own;

static void make_own(void)
{
	uint8_t key[KEY_SIZE] = {[0] = 8, [31] = 64};
	cr_assert_eq(keys_init(NULL), 0);
	handshake_identity_init(&own, key);
}

TestSuite(wireguard_key, .init = make_own);

static int load(bool on, char *file, struct noise_keypair **keys, struct error *error)
{
	const struct gateway_config config = {.wireguard = on, .wireguard_key_file = file};
	return identity_load_wireguard(&config, &own, keys, error);
}

Test(wireguard_key, is_derived_by_a_label_of_its_own)
{
	struct noise_keypair *keys, *again;
	struct error error = {0};
	uint8_t expected[KEY_SIZE], public_key[KEY_SIZE];
	crypto_generichash_blake2b(expected, KEY_SIZE, (const uint8_t *)"shardtun1 wireguard", 19, own.keys.private_key,
				   KEY_SIZE);
	cr_assert_eq(load(true, NULL, &keys, &error), 0, "%s", error.text);
	cr_expect_eq(memcmp(keys->private_key, expected, KEY_SIZE), 0);
	noise_public_key(expected, public_key);
	cr_expect_eq(memcmp(keys->public_key, public_key, KEY_SIZE), 0);
	cr_expect_neq(memcmp(keys->public_key, own.keys.public_key, KEY_SIZE), 0);
	cr_assert_eq(load(true, NULL, &again, &error), 0);
	cr_expect_eq(memcmp(keys, again, sizeof *keys), 0, "always the same one");
	secret_free(again);
	secret_free(keys);
	cr_assert_eq(load(false, NULL, &keys, &error), 0);
	cr_expect_null(keys);
}

Test(wireguard_key, may_be_brought_along)
{
	struct noise_keypair *keys;
	struct error error = {0};
	char text[KEY_TEXT_SIZE], *path = key_file(KEY_B "\n");
	cr_assert_eq(load(true, path, &keys, &error), 0, "%s", error.text);
	key_format(keys->private_key, text);
	cr_expect_str_eq(text, KEY_B);
	secret_free(keys);
	cr_assert_eq(chmod(path, 0604), 0);
	cr_expect_eq(load(true, path, &keys, &error), -EPERM);
	cr_expect_null(keys);
	cr_expect_eq(load(false, path, &keys, &error), -EPERM, "also while it is not needed");
	file_free(&written);
}

Test(wireguard_key, is_not_the_own_one)
{
	struct noise_keypair *keys;
	struct error error = {0};
	char text[KEY_TEXT_SIZE];
	key_format(own.keys.private_key, text);
	char *path = key_file(text);
	cr_expect_eq(load(true, path, &keys, &error), -EINVAL);
	cr_expect_null(keys);
	cr_expect_not_null(strstr(error.text, "WireGuardPrivateKeyFile = "), "%s", error.text);
	cr_expect_not_null(strstr(error.text, "a key is for one protocol"), "%s", error.text);
	file_free(&written);
}
