// SPDX-License-Identifier: Apache-2.0
/* The files that let a client in, as the programs read them, and QR codes. */
#include "core/cli/peer_files.h"

#include <sys/stat.h>

#include "core/cli/qr.h"
#include "tests/unit/config_files.h"

static char directory[] = "/tmp/test_peer_files.XXXXXX";

static void make_directory(void)
{
	cr_assert_not_null(mkdtemp(directory));
}

static void remove_directory(void)
{
	char command[128];
	snprintf(command, sizeof command, "rm -r '%s'", directory);
	cr_expect_eq(system(command), 0);
}

Test(peer_files, the_client_reads_its_file, .init = make_directory, .fini = remove_directory)
{
	char text[PEER_FILE_MAX], path[PEER_PATH_MAX], list[1024] = "198.51.100.0/24";
	struct error error = {0};
	for (int i = 0; i < 40; i++)
		snprintf(list + strlen(list), sizeof list - strlen(list), ",10.%d.0.0/16", i);
	const struct client_file file = {.name = "alice",
					 .private_key = KEY_A,
					 .preshared_key = KEY_B,
					 .gateway_public_key = KEY_A,
					 .endpoint = "[2001:db8::1]:5555",
					 .allowed_ips = list};
	cr_assert_eq(client_file_format(&file, text, &error), 0, "%s", error.text);
	cr_assert_eq(peer_file_save(directory, "alice", text, path, &error), 0, "%s", error.text);
	struct client_config *config;
	cr_assert_eq(config_load_client(path, &config, &error), 0, "%s", error.text);
	cr_expect_str_eq(config->common.private_key, KEY_A);
	cr_expect_str_eq(config->gateway.preshared_key, KEY_B);
	cr_expect_str_eq(config->gateway.endpoint.host, "2001:db8::1");
	cr_expect_eq(config->gateway.allowed_ips.count, 41);
	config_free_client(config);
}

Test(peer_files, the_gateway_reads_its_peer, .init = make_directory, .fini = remove_directory)
{
	char text[PEER_FILE_MAX], path[PEER_PATH_MAX], expected[PEER_PATH_MAX], conf[2048];
	struct error error = {0};
	const struct peer_file file = {.name = "alice",
				       .public_key = KEY_A,
				       .preshared_key = KEY_B,
				       .address = "10.8.0.7",
				       .allowed_ips = "192.168.7.0/24,fd00:7::/64"};
	cr_assert_eq(peer_file_format(&file, text, &error), 0, "%s", error.text);
	cr_assert_eq(peer_file_save(directory, "alice", text, path, &error), 0, "%s", error.text);
	snprintf(expected, sizeof expected, "%s/alice.conf", directory);
	cr_expect_str_eq(path, expected);
	struct stat status;
	cr_assert_eq(stat(path, &status), 0);
	cr_expect_eq(status.st_mode & 07777, 0640);

	snprintf(conf, sizeof conf, POOL "PeersDirectory = %s\n", directory);
	struct gateway_config *config = load_gateway(conf);
	cr_assert_eq(config->peer_count, 1);
	const struct config_peer *peer = &config->peers[0];
	cr_expect_str_eq(peer->name, "alice");
	cr_expect_str_eq(peer->public_key, KEY_A);
	cr_expect_str_eq(peer->preshared_key, KEY_B);
	cr_expect_eq(peer->addresses.count, 1);
	cr_expect_eq(peer->allowed_ips.count, 2);
	config_free_gateway(config);

	/* What is there stays. */
	cr_expect_eq(peer_file_save(directory, "alice", "", path, &error), -EEXIST);
	cr_expect_not_null(strstr(error.text, "/alice.conf: is there already"));
	cr_assert_eq(stat(expected, &status), 0);
	cr_expect_eq((size_t)status.st_size, strlen(text));
	cr_expect_eq(peer_file_save("/nonexistent", "bob", "", path, &error), -ENOENT);
	cr_expect_str_eq(error.text, "/nonexistent/bob.conf: cannot be written (No such file or directory)");

	char command[256];
	snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = alice.conf", directory);
	cr_expect_eq(system(command), 0, "something is left behind");
}

Test(peer_files, a_wireguard_client_is_told_all_in_its_file)
{
	char text[PEER_FILE_MAX];
	struct error error = {0};
	struct wireguard_file file = {.client = {.name = "phone",
						 .private_key = KEY_A,
						 .preshared_key = KEY_B,
						 .gateway_public_key = KEY_B,
						 .endpoint = "vpn.example.net:5555",
						 .allowed_ips = "10.8.0.0/16,fd00:8::/64"},
				      .addresses = "10.8.0.7/32,fd00:8::7/128",
				      .dns = "10.8.0.1,fd00:8::1",
				      .mtu = 1420,
				      .keepalive = true};
	cr_assert_eq(wireguard_file_format(&file, text, &error), 0, "%s", error.text);
	cr_expect_str_eq(text, "# shardtun: phone\n"
			       "[Interface]\n"
			       "PrivateKey = " KEY_A "\n"
			       "Address = 10.8.0.7/32, fd00:8::7/128\n"
			       "DNS = 10.8.0.1, fd00:8::1\n"
			       "MTU = 1420\n"
			       "\n"
			       "[Peer]\n"
			       "PublicKey = " KEY_B "\n"
			       "PresharedKey = " KEY_B "\n"
			       "AllowedIPs = 10.8.0.0/16, fd00:8::/64\n"
			       "Endpoint = vpn.example.net:5555\n"
			       "PersistentKeepalive = 25\n");
	file.dns = "";
	file.keepalive = false;
	cr_assert_eq(wireguard_file_format(&file, text, &error), 0);
	cr_expect_null(strstr(text, "DNS"));
	cr_expect_null(strstr(text, "PersistentKeepalive"));
}

Test(peer_files, what_does_not_fit_is_refused)
{
	char text[PEER_FILE_MAX], list[2 * PEER_FILE_MAX] = "10.0.0.0/8";
	struct error error = {0};
	while (strlen(list) < PEER_FILE_MAX)
		strcat(list, ",10.0.0.0/8");
	const struct peer_file peer = {.public_key = KEY_A, .allowed_ips = list};
	cr_expect_eq(peer_file_format(&peer, text, &error), -E2BIG);
	const struct client_file client = {
		.name = "x", .private_key = KEY_A, .gateway_public_key = KEY_A, .endpoint = "x:1", .allowed_ips = list};
	cr_expect_eq(client_file_format(&client, text, &error), -E2BIG);
}

/* Version 1 has 21 modules, and 4 around them. */
Test(qr, has_a_quiet_zone_and_the_finder)
{
	struct error error = {0};
	char *text = qr_format("x", "# ", &error);
	cr_assert_not_null(text, "%s", error.text);
	char expected[512] = "# ";
	for (int i = 0; i < 29; i++)
		strcat(expected, "█");
	strcat(expected, "\n");
	size_t line = strlen(expected);
	cr_expect_eq(strncmp(text, expected, line), 0);
	cr_expect_eq(strncmp(text + line, expected, line), 0);
	/* A finder pattern is a frame of one module around one of light ones; two rows of it are seen here. */
	cr_expect_eq(strncmp(text + 2 * line, "# ████ ▄▄▄▄▄ █", strlen("# ████ ▄▄▄▄▄ █")), 0, "%s", text);
	size_t lines = 0;
	for (const char *c = text; *c != '\0'; c++)
		lines += *c == '\n';
	cr_expect_eq(lines, 15);
	free(text);

	char long_text[4000];
	memset(long_text, 'x', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	cr_expect_null(qr_format(long_text, "", &error));
	cr_expect_eq(strncmp(error.text, "QR code: the text is too long", 29), 0);
}
