// SPDX-License-Identifier: Apache-2.0
/* A WireGuard server's file, as wg-quick reads it, as a gateway's configuration: what is taken over, what is told, and
 * what is refused. */
#include "config/wireguard_server.h"

#include <sys/stat.h>

#include "core/cli/import.h"
#include "tests/unit/config_files.h"

#define KEY_C  "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA="
#define KEY_D  "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDA="
#define SERVER "[Interface]\nPrivateKey = " KEY_D "\nAddress = 10.8.0.1/24, fd00:8::1/64\n" /* lines 1 to 3 */

static void make_private_files(void)
{
	umask(077);
}

TestSuite(wireguard_server, .init = make_private_files);

static struct wireguard_server *load_named(const char *name, const char *text)
{
	struct wireguard_server *server;
	struct error error = {0};
	struct file file = file_new(text, strlen(text));
	char path[96];
	snprintf(path, sizeof path, "%s/%s", file.directory, name);
	cr_assert_eq(rename(file.path, path), 0);
	cr_assert_eq(chmod(path, 0600), 0);
	cr_assert_eq(config_load_wireguard(path, &server, &error), 0, "%s", error.text);
	unlink(path);
	file_free(&file);
	return server;
}

static struct wireguard_server *load(const char *text)
{
	return load_named("wg0.conf", text);
}

static void add_left(void *context, const struct import_left *left)
{
	char text[IMPORT_TEXT_MAX];
	strcat(strcat(context, import_left_text(left, text)), "\n");
}

/* All lines about what is not taken over. */
static const char *left_of(const struct wireguard_server *server)
{
	static char text[8192];
	text[0] = '\0';
	import_each_left(server, add_left, text);
	return text;
}

/* The text is a gateway's configuration, and says this after its comments. */
static void expect_text(const struct wireguard_server *server, const char *expected)
{
	char *text = import_format(server, "gw.key", "wg.key", false);
	const char *start = strstr(text, "\n[Gateway]\n");
	cr_assert_not_null(start, "%s", text);
	cr_expect_str_eq(start + 1, expected);
	config_free_gateway(load_gateway(text));
	free(text);
}

Test(wireguard_server, is_a_gateway_with_the_same_clients)
{
	struct wireguard_server *server = load("# my server\n"
					       "[Interface]\n"
					       "PrivateKey=" KEY_D "#secret\n"
					       "ListenPort = 51820 # the usual one\n"
					       "Address = 10.8.0.1/24\n"
					       "address = fd00:8::1/64\n"
					       "MTU = 1380\n"
					       "[peer]\n"
					       "PublicKey = " KEY_A "\n"
					       "AllowedIPs = 10.8.0.7/32, fd00:8::7/128, 192.168.7.1/24\n"
					       "PresharedKey = " KEY_C "\n"
					       "PersistentKeepalive = 25\n"
					       "[Peer]\n"
					       "PublicKey = " KEY_B "\n"
					       "Endpoint = [2001:db8::1]:7\n"
					       "AllowedIPs = 10.8.0.8\n"
					       "AllowedIPs = 10.9.0.5/32, 10.8.0.8/32\n"
					       "PersistentKeepalive = off\n");
	cr_expect_str_eq(server->private_key, KEY_D);
	cr_expect_str_eq(left_of(server), "");
	expect_text(server, "[Gateway]\n"
			    "PrivateKeyFile = gw.key\n"
			    "WireGuard = yes\n"
			    "WireGuardPrivateKeyFile = wg.key\n"
			    "Interface = wg0\n"
			    "Address = 10.8.0.1/24, fd00:8::1/64\n"
			    "ListenPort = 51820\n"
			    "MTU = 1380\n"
			    "\n[Peer]\n"
			    "PublicKey = " KEY_A "\n"
			    "Protocol = wireguard\n"
			    "PresharedKey = " KEY_C "\n"
			    "Address = 10.8.0.7, fd00:8::7\n"
			    "AllowedIPs = 192.168.7.0/24\n"
			    "PersistentKeepalive = 25\n"
			    "\n[Peer]\n"
			    "PublicKey = " KEY_B "\n"
			    "Protocol = wireguard\n"
			    "Address = 10.8.0.8\n"
			    "AllowedIPs = 10.9.0.5/32\n"
			    "Endpoint = [2001:db8::1]:7\n");
	config_free_wireguard(server);
}

Test(wireguard_server, what_a_gateway_has_not_is_told_with_its_line)
{
	struct wireguard_server *server = load(SERVER "ListenPort = 51820\n"
						      "FwMark = 0x51\n"
						      "Table = off\n"
						      "DNS = 10.8.0.1, example.org\n"
						      "SaveConfig = true\n"
						      "PreUp = echo a, b\n"
						      "PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE\n"
						      "PostUp = sysctl -w net.ipv4.ip_forward=1 # forward\n"
						      "PreDown = true\n"
						      "PostDown = curl -H " KEY_A " x\n");
	cr_expect_str_eq(
		left_of(server),
		"line 5: FwMark = 0x51: not taken over; a gateway's packets have no mark\n"
		"line 6: Table = off: not taken over; a gateway's routes are in table main, with metric 21845, which "
		"gives way\n"
		"line 7: DNS = 10.8.0.1, example.org: not taken over; it is for this machine itself; a gateway's DNS "
		"is for its clients\n"
		"line 8: SaveConfig = true: not taken over; 'shardtunctl peer add --save' keeps a client\n"
		"line 9: PreUp = echo a, b: not taken over; the unit's ExecStartPost= and ExecStopPost= can run it "
		"(systemctl edit shardtund)\n"
		"line 10: PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE: not taken over; Masquerade = "
		"INTERFACE, with Forward = yes, does what MASQUERADE does\n"
		"line 11: PostUp = sysctl -w net.ipv4.ip_forward=1: not taken over; Forward = yes does that\n"
		"line 12: PreDown = true: not taken over; the unit's ExecStartPost= and ExecStopPost= can run it "
		"(systemctl edit shardtund)\n"
		"line 13: PostDown = curl -H (hidden) x: not taken over; the unit's ExecStartPost= and ExecStopPost= "
		"can run it (systemctl edit shardtund)\n");
	char *text = import_format(server, "gw.key", "wg.key", true);
	cr_expect_not_null(strstr(text, "\n# line 5: FwMark = 0x51: not taken over; "), "%s", text);
	cr_expect_not_null(strstr(text, "/wg0.conf > wg.key)\n"), "%s", text);
	cr_expect_null(strstr(text, KEY_D), "the key is not in it");
	free(text);
	config_free_wireguard(server);

	server = load(SERVER
		      "ListenPort = 5\nFwMark = off\nFwMark = 0\nTable = auto\nSaveConfig = false\nDNS =\nPostUp =\n");
	cr_expect_str_eq(left_of(server), "", "what means nothing is not told");
	config_free_wireguard(server);
}

Test(wireguard_server, names_and_ports_that_there_are_not)
{
	struct wireguard_server *server = load_named("a-name-that-is-too-long.conf", SERVER);
	cr_expect_not_null(
		strstr(left_of(server), "ListenPort = 0: not taken over; write the port that clients have\n"));
	cr_expect_not_null(
		strstr(left_of(server), ": not taken over; no interface can be called so; it is called shardtun0\n"));
	char *text = import_format(server, "gw.key", "wg.key", false);
	cr_expect_null(strstr(text, "\nInterface = "));
	cr_expect_null(strstr(text, "\nListenPort = "));
	free(text);
	config_free_wireguard(server);
	server = load_named("wg0", SERVER);
	cr_expect_str_eq(server->gateway.common.interface, "");
	config_free_wireguard(server);
	server = load_named("wg\n[Peer].conf", SERVER);
	text = import_format(server, "gw.key", "wg.key", true);
	cr_expect_null(strstr(text, "\n[Peer]"), "a name is no line of its own: %s", text);
	free(text);
	config_free_wireguard(server);
}

/* 10.8.0.10 goes with fd00:8::a in a pool. */
Test(wireguard_server, two_families_that_do_not_go_together_are_one_pool_and_networks)
{
	struct wireguard_server *server = load(
		SERVER "ListenPort = 5\n" PEER(KEY_A) "AllowedIPs = 10.8.0.10/32, fd00:8::10/128\n" PEER(
			KEY_B) "AllowedIPs = 10.8.0.16/32, fd00:8::16/128\n" PEER(KEY_C) "AllowedIPs = "
											 "fd00:8::17/128\n");
	cr_expect_str_eq(left_of(server),
			 "line 3: Address = fd00:8::1/64: not taken over; clients have other host numbers in "
			 "it; ip address add fd00:8::1/64 dev wg0\n");
	expect_text(server, "[Gateway]\n"
			    "PrivateKeyFile = gw.key\n"
			    "WireGuard = yes\n"
			    "WireGuardPrivateKeyFile = wg.key\n"
			    "Interface = wg0\n"
			    "Address = 10.8.0.1/24\n"
			    "ListenPort = 5\n"
			    "MTU = 1420\n"
			    "\n[Peer]\nPublicKey = " KEY_A "\nProtocol = wireguard\nAddress = 10.8.0.10\n"
			    "AllowedIPs = fd00:8::10/128\n"
			    "\n[Peer]\nPublicKey = " KEY_B "\nProtocol = wireguard\nAddress = 10.8.0.16\n"
			    "AllowedIPs = fd00:8::16/128\n"
			    "\n[Peer]\nPublicKey = " KEY_C "\nProtocol = wireguard\nAllowedIPs = fd00:8::17/128\n");
	config_free_wireguard(server);
}

static void refuse(const char *text, unsigned mode, int code, const char *expected)
{
	struct wireguard_server *server;
	struct error error = {0};
	struct file file = file_new(text, strlen(text));
	cr_assert_eq(chmod(file.path, mode), 0);
	cr_expect_eq(config_load_wireguard(file.path, &server, &error), code, "%s was taken", text);
	cr_expect_null(server);
	const char *rest = error.text + strlen(file.path);
	cr_expect(strncmp(error.text, file.path, strlen(file.path)) == 0 &&
			  strncmp(rest, expected, strlen(expected)) == 0,
		  "wanted \"%s\"\n   got \"%s\"", expected, error.text);
	cr_expect_null(strchr(error.text, '\n'));
	cr_expect_null(strstr(error.text, KEY_D), "no secret is quoted");
	file_free(&file);
}

Test(wireguard_server, what_is_wrong_is_refused_with_its_line)
{
	static const struct refusal refusals[] = {
		{"", ": no [Interface] section; this file has [Interface] and [Peer]"},
		{PEER(KEY_A), ": no [Interface] section"},
		{"[Interface]\n", ":1: [Interface]: PrivateKey is missing"},
		{"[Interface]\nPrivateKey = " KEY_D "\n", ":1: [Interface]: Address is missing"},
		{"[Interface]\nPrivateKey = " KEY_D "x\n", ":2: PrivateKey = (hidden): 45 characters are no key"},
		{"[Interface]\nPrivateKey = DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD=\n",
		 ":2: PrivateKey = (hidden): not the base64 of a key"},
		{SERVER "PrivateKey = " KEY_D "\n", ":4: PrivateKey = (hidden): given on line 2 already"},
		{SERVER "[Interface]\n", ":4: [Interface]: a second one"},
		{SERVER "[Gateway]\n", ":4: [Gateway]: unknown section; this file has [Interface] and [Peer]"},
		{SERVER "Color = red\n",
		 ":4: Color = red: unknown key in [Interface]; wg(8) and wg-quick(8) have none like that"},
		{SERVER "PrivatKey = " KEY_D "\n", ":4: PrivatKey = (hidden): unknown key in [Interface]"},
		{SERVER "ListenPort = 65536\n", ":4: ListenPort = 65536: not a number from 0 to 65535"},
		{SERVER "MTU = 1200\n", ":4: MTU = 1200: too small for the IPv6 in Address; at least 1280"},
		{SERVER "nonsense\n", ":4: nonsense: not a setting; write Key = value"},
		{SERVER "[Peer]\nAllowedIPs = 10.8.0.7/32\n", ":4: [Peer]: PublicKey is missing"},
		{SERVER "[Peer]\nPublicKey = AAAA\n", ":5: PublicKey = AAAA: 4 characters are no key"},
		{SERVER PEER(KEY_A) "Name = alice\n", ":6: Name = alice: unknown key in [Peer]; wg(8)"},
		{SERVER PEER(KEY_A) "PersistentKeepalive = 65536\n",
		 ":6: PersistentKeepalive = 65536: neither 'off' nor"},
		{SERVER PEER(KEY_A) "Endpoint = x\n", ":6: Endpoint = x: not host:port"},
		{SERVER PEER(KEY_A) "AllowedIPs = 10.8.0.7/33\n", ":6: AllowedIPs = 10.8.0.7/33: no IP network"},
		{SERVER PEER(KEY_A) "AllowedIPs = 10.8.0.7/32,\n",
		 ":6: AllowedIPs = 10.8.0.7/32,: nothing beside a comma"},
		{SERVER PEER(KEY_A) PEER(KEY_A), ":7: PublicKey = " KEY_A ": the peer on line 5 has this key"},
		{SERVER PEER(KEY_A) "AllowedIPs = 0.0.0.0/0\n",
		 ":6: AllowedIPs = 0.0.0.0/0: everything, which no single client"},
		{SERVER PEER(KEY_A) "AllowedIPs = 10.8.0.0/28\n", ":6: AllowedIPs = 10.8.0.0/28: overlaps the pool"},
		{SERVER PEER(KEY_A) "AllowedIPs = 10.8.0.7/32, 10.8.0.8/32\n",
		 ":6: Address = 10.8.0.8: this peer's second IPv4 address"},
		{SERVER PEER(KEY_A) "AllowedIPs = 10.8.0.1/32\n", ":6: Address = 10.8.0.1: the gateway's own address"},
		{SERVER PEER(KEY_A) "AllowedIPs = fd00:8::1/128\n",
		 ":6: Address = fd00:8::1: the gateway's own address"},
		{SERVER PEER(KEY_A) "AllowedIPs = 10.8.0.7/32\n" PEER(KEY_B) "AllowedIPs = 10.8.0.7/32\n",
		 ":9: Address = 10.8.0.7: the peer on line 6 has it"},
		{SERVER PEER(KEY_A) "AllowedIPs = 10.9.0.0/16\n" PEER(KEY_B) "AllowedIPs = 10.9.0.1/16\n",
		 ":9: AllowedIPs = 10.9.0.0/16: behind the peer on line 6 already"},
		{SERVER PEER(KEY_A) "AllowedIPs = 127.0.0.1/32\n", ":6: AllowedIPs = 127.0.0.1/32: a loopback address"},
		{"[Interface]\nPrivateKey = " KEY_D "\nAddress = 10.8.0.1/32\n",
		 ":3: Address = 10.8.0.1/32: not a network to give clients addresses from"},
		{"[Interface]\nPrivateKey = " KEY_D "\nAddress = 10.8.0.1/24, 10.9.0.1/24\n",
		 ":3: Address = 10.9.0.1/24: a second IPv4 network"},
		{"[Interface]\nPrivateKey = " KEY_D "\nAddress = 10.8.0.1/24, fd00::1/64, 10.9.0.1/24\n",
		 ":3: Address = 10.9.0.1/24: one network too many; at most 2"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		refuse(refusals[i].text, 0600, -EINVAL, refusals[i].expected);
	refuse(SERVER, 0644, -EPERM, ":2: PrivateKey = (hidden): a secret in a file that others may access");
}
