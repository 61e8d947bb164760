// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/config_files.h"

Test(config, gateway_defaults)
{
	struct gateway_config *config = load_gateway(GATEWAY "Address = 10.8.0.1/16\n");
	cr_expect_str_eq(config->common.interface, "shardtun0");
	cr_expect_eq(config->common.cipher, CONFIG_CIPHER_ANY);
	cr_expect_str_eq(config->common.crypto_backend, "auto");
	cr_expect_eq(config->common.disabled_offloads, 0);
	cr_expect_eq(config->common.stage_sampling, 64);
	cr_expect_str_eq(config->common.control_socket, "/run/shardtun/shardtun0.sock");
	cr_expect_eq(config->common.log_level, LOG_LEVEL_INFO);
	cr_expect_eq(config->common.cpu_priority, CPU_PRIORITY_NORMAL);
	cr_expect_eq(config->common.udp_buffer, 3 << 20);
	cr_expect_eq(config->listen_port, 5555);
	cr_expect_eq(config->listen_addresses.count, 0);
	cr_expect_eq(config->mtu, 1420);
	cr_expect_eq(config->max_sessions, 65536);
	cr_expect_eq(config->workers, 0);
	cr_expect_eq(config->tun_readers, CONFIG_AUTO);
	cr_expect_eq(config->handshakers, 0);
	cr_expect_eq(config->rekey_interval, 120);
	cr_expect_eq(config->session_timeout, 7200);
	cr_expect_not(config->client_to_client);
	cr_expect_not(config->forward);
	cr_expect_eq(config->masquerade.count, 0);
	cr_expect_null(config->cluster_node);
	cr_expect_eq(config->cluster_block_size, 4096);
	cr_expect_eq(config->peer_count, 0);
	config_free_gateway(config);
}

Test(config, gateway_values)
{
	struct gateway_config *config = load_gateway(
		"[Gateway]\nPrivateKeyFile = /etc/k\nAddress = 10.8.0.1/16\nAddress = fd00:8::1/64\n"
		"ListenPort = 1\nListenAddress = 192.0.2.1, ::1\nInterface = vpn.5\nMTU = 65000\n"
		"MaxSessions = 1048576\nWorkers = 250\nTunReaders = 6\nHandshakers = 16\nRekeyInterval = 10\n"
		"SessionTimeout = 30\nClientToClient = yes\nCipher = chacha20-poly1305\n"
		"CryptoBackend = ipsec-mb:avx2\nDisableOffloads = tun-uso,udp-gro\n"
		"DisableOffloads = tun-checksum\nStageSampling = 0\nUdpBuffer = 64k\nCpuPriority = Realtime\n"
		"ControlSocket = run/c.sock\nLogLevel = debug\nForward = yes\nMasquerade = eth0, wan+\n" PEER(
			KEY_A) "PresharedKeyFile = psk\n"
			       "Address = 10.8.1.7\nAddress = fd00:8::107\n" PEER(KEY_B));
	cr_expect_str_eq(config->common.private_key_file, "/etc/k");
	cr_expect_eq(config->addresses.count, 2);
	cr_expect_eq(config->addresses.items[0].address.bytes[3], 1, "host bits are kept");
	cr_expect_eq(config->addresses.items[0].length, 16);
	cr_expect_eq(config->addresses.lines[1], 4);
	cr_expect_eq(config->listen_port, 1);
	cr_expect_eq(config->listen_addresses.count, 2);
	cr_expect_str_eq(config->common.interface, "vpn.5");
	cr_expect_eq(config->mtu, 65000);
	cr_expect_eq(config->max_sessions, 1 << 20);
	cr_expect_eq(config->workers, 250);
	cr_expect_eq(config->tun_readers, 6);
	cr_expect_eq(config->handshakers, 16);
	cr_expect_eq(config->rekey_interval, 10);
	cr_expect_eq(config->session_timeout, 30);
	cr_expect(config->client_to_client);
	cr_expect(config->forward);
	cr_expect_eq(config->masquerade.count, 2);
	cr_expect_str_eq(config->masquerade.items[1], "wan+");
	cr_expect_eq(config->common.cipher, CONFIG_CIPHER_CHACHA20_POLY1305);
	cr_expect_str_eq(config->common.crypto_backend, "ipsec-mb:avx2");
	cr_expect_eq(config->common.disabled_offloads,
		     CONFIG_OFFLOAD_TUN_USO | CONFIG_OFFLOAD_UDP_GRO | CONFIG_OFFLOAD_TUN_CHECKSUM);
	cr_expect_eq(config->common.stage_sampling, 0);
	cr_expect_eq(config->common.udp_buffer, 65536);
	cr_expect_eq(config->common.cpu_priority, CPU_PRIORITY_REALTIME);
	cr_expect_eq(config->common.log_level, LOG_LEVEL_DEBUG);
	cr_assert_eq(config->peer_count, 2);
	cr_expect_str_eq(config->peers[0].public_key, KEY_A);
	cr_expect_eq(config->peers[0].line, 28);
	cr_expect_eq(config->peers[0].addresses.count, 2);
	cr_expect_str_eq(config->peers[1].public_key, KEY_B);
	cr_expect_null(config->peers[1].preshared_key_file);
	cr_expect_eq(config->peers[1].addresses.count, 0);
	cr_expect_eq(config->peers[1].allowed_ips.count, 0);
	config_free_gateway(config);
}

Test(config, paths_are_relative_to_the_file)
{
	struct gateway_config *config = load_gateway(
		POOL "ControlSocket = run/c.sock\n" PEER(KEY_A) "PresharedKeyFile = p\n");
	size_t directory = (size_t)(strrchr(config->file, '/') + 1 - config->file);
	cr_expect_eq(strncmp(config->common.private_key_file, config->file, directory), 0);
	cr_expect_str_eq(config->common.private_key_file + directory, "gw.key");
	cr_expect_str_eq(config->common.control_socket + directory, "run/c.sock");
	cr_expect_str_eq(config->peers[0].preshared_key_file + directory, "p");
	config_free_gateway(config);

	struct error error = {0};
	struct file file = file_new(POOL, sizeof POOL - 1);
	cr_assert_eq(chdir(file.directory), 0);
	cr_assert_eq(config_load_gateway("f", &config, &error), 0, "%s", error.text);
	cr_expect_str_eq(config->common.private_key_file, "gw.key", "no directory, no prefix");
	config_free_gateway(config);
	file_free(&file);
}

Test(config, control_socket_follows_the_interface)
{
	struct client_config *config = load_client(CLIENT "Interface = wan7\n" REMOTE);
	cr_expect_str_eq(config->common.control_socket, "/run/shardtun/wan7.sock");
	config_free_client(config);
}

Test(config, client_defaults)
{
	struct client_config *config = load_client(CLIENT REMOTE);
	cr_expect_eq(config->listen_port, 0);
	cr_expect_eq(config->mtu, 0);
	cr_expect_eq(config->route_table, CONFIG_TABLE_AUTO);
	cr_expect_str_eq(config->common.interface, "shardtun0");
	cr_expect_str_eq(config->gateway.public_key, KEY_A);
	cr_expect_null(config->gateway.preshared_key_file);
	cr_expect_str_eq(config->gateway.endpoint.host, "vpn.example.net");
	cr_expect_eq(config->gateway.endpoint.port, 5555);
	cr_expect_eq(config->gateway.allowed_ips.count, 2);
	cr_expect_eq(config->gateway.persistent_keepalive, 0);
	config_free_client(config);
}

Test(config, client_values)
{
	struct client_config *config = load_client(
		CLIENT "ListenPort = 65535\nMTU = 1280\nRouteTable = off\n[Gateway]\nPublicKey = " KEY_B "\n"
		       "Endpoint = [2001:db8::1]:443\nAllowedIPs = ::/0\nPersistentKeepalive = 25\n");
	cr_expect_eq(config->listen_port, 65535);
	cr_expect_eq(config->mtu, 1280);
	cr_expect_eq(config->route_table, 0);
	cr_expect_str_eq(config->gateway.endpoint.host, "2001:db8::1");
	cr_expect_eq(config->gateway.endpoint.port, 443);
	cr_expect_eq(config->gateway.persistent_keepalive, 25);
	config_free_client(config);

	config = load_client(CLIENT "RouteTable = 4294967294\n" REMOTE "PersistentKeepalive = off\n");
	cr_expect_eq(config->route_table, UINT32_MAX - 1);
	cr_expect_eq(config->gateway.persistent_keepalive, 0);
	config_free_client(config);
}

Test(config, what_a_client_does_to_its_machine)
{
	struct client_config *config = load_client(CLIENT REMOTE);
	cr_expect(config->local_networks && !config->kill_switch);
	cr_expect(config->dns.automatic && !config->dns.off && config->dns.servers.count == 0);
	cr_expect_eq(config->networks.count + config->post_up.count + config->post_down.count, 0);
	config_free_client(config);

	config = load_client(
		CLIENT
		"LocalNetworks = no\nKillSwitch = yes\nDNS = 10.8.0.1, fd00:8::1\nDNS = 10.8.0.2\n"
		"Networks = 192.168.7.1/24\nPostUp = echo a, b\nPostUp = echo 'c;d' #e\nPostDown = f %i\n" REMOTE);
	cr_expect(!config->local_networks && config->kill_switch);
	cr_expect(!config->dns.automatic && !config->dns.off);
	cr_expect_eq(config->dns.servers.count, 3);
	cr_expect_eq(config->networks.items[0].address.bytes[3], 0, "a network has no host bits");
	cr_assert_eq(config->post_up.count, 2);
	cr_expect_str_eq(config->post_up.items[0], "echo a, b", "a comma separates no commands");
	cr_expect_str_eq(config->post_up.items[1], "echo 'c;d' #e", "comments are the shell's");
	cr_assert_eq(config->post_down.count, 1);
	cr_expect_str_eq(config->post_down.items[0], "f %i");
	config_free_client(config);

	config = load_client(CLIENT "DNS = off\n" REMOTE);
	cr_expect(config->dns.off && !config->dns.automatic);
	config_free_client(config);

	static const struct refusal refusals[] = {
		{CLIENT "DNS = none\n" REMOTE, ":3: DNS = none: neither 'auto' nor 'off' nor an IP address"},
		{CLIENT "DNS = auto, 10.8.0.1\n" REMOTE, ":3: DNS = 10.8.0.1: 'auto' and 'off' stand alone"},
		{CLIENT "DNS = 10.8.0.1\nDNS = off\n" REMOTE, ":4: DNS = off: 'auto' and 'off' stand alone"},
		{CLIENT "DNS = 10.8.0.1/24\n" REMOTE, ":3: DNS = 10.8.0.1/24: neither 'auto'"},
		{CLIENT "DNS = 1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,1.1.1.6,1.1.1.7,1.1.1.8,1.1.1.9\n" REMOTE,
		 ":3: DNS = 1.1.1.9: one address too many"},
		{CLIENT "PostUp =\n" REMOTE, ":3: PostUp = : nothing given"},
		{CLIENT "Interface = a\"b\nKillSwitch = yes\n" REMOTE,
		 ": KillSwitch: Interface = a\"b: firewall rules"},
	};
	all_refused(false, refusals, ARRAY_SIZE(refusals));
}

Test(config, allowed_ips_are_sorted_networks_each_once)
{
	struct client_config *config = load_client(CLIENT "[Gateway]\nPublicKey = " KEY_A "\nEndpoint = h:1\n"
							  "AllowedIPs = fd00::/8, 10.1.2.3/8\nAllowedIPs = 192.0.2.1\n"
							  "AllowedIPs = 10.0.0.0/8, 10.0.0.0/9\n");
	static const char *const expected[] = {"10.0.0.0/8", "10.0.0.0/9", "192.0.2.1/32", "fd00::/8"};
	cr_assert_eq(config->gateway.allowed_ips.count, ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		char text[IP_TEXT_MAX];
		cr_expect_str_eq(ip_prefix_format(&config->gateway.allowed_ips.items[i], text), expected[i]);
	}
	config_free_client(config);
}

Test(config, thousands_of_allowed_ips)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	fputs(CLIENT REMOTE, out);
	for (unsigned i = 0; i < 5000; i++)
		fprintf(out, "AllowedIPs = 10.%u.%u.0/24, fd00:%x::/48\n", i / 256, i % 256, i);
	fclose(out);
	struct client_config *config = load_client(text);
	cr_expect_eq(config->gateway.allowed_ips.count, 10002);
	config_free_client(config);
	free(text);
}

Test(config, forgives_what_does_not_change_the_meaning)
{
	struct gateway_config *config = load_gateway(
		"\xEF\xBB\xBF# comment\r\n; comment = too\r\n\r\n  [GATEWAY]   # the gateway\r\n"
		"\tprivatekeyfile=/a=b;c#d.key # comment\r\n   ADDRESS\t=\t10.8.0.1/16 ,fd00:8::1/64 #\r\n"
		"CLIENTTOCLIENT = YES\r\n[peer] # one\r\nPUBLICKEY = " KEY_A);
	cr_expect_str_eq(config->common.private_key_file, "/a=b;c#d.key");
	cr_expect_eq(config->addresses.count, 2);
	cr_expect(config->client_to_client);
	cr_expect_eq(config->peer_count, 1, "the last line needs no line end");
	config_free_gateway(config);
}

Test(config, sections_in_any_order)
{
	struct gateway_config *config = load_gateway(PEER(KEY_A) "Address = 10.8.0.7\n" POOL);
	cr_expect_eq(config->peer_count, 1);
	config_free_gateway(config);
}

#define REPEAT_10(text) text text text text text text text text text text
#define REPEAT_180(text) \
	REPEAT_10(text text text text text text text text text text text text text text text text text text)

Test(config, long_lines)
{
	struct gateway_config *config = load_gateway("[Gateway]\nAddress = 10.8.0.1/16\nPrivateKeyFile = /" REPEAT_180(
		"path") "\nMTU = 1400 # " REPEAT_180("comment "));
	cr_expect_eq(strlen(config->common.private_key_file), 1 + 4 * 180);
	cr_expect_eq(config->mtu, 1400);
	config_free_gateway(config);
	struct client_config *client = load_client(CLIENT "PostUp = true" REPEAT_180(
		" && true") "\n" REMOTE "AllowedIPs = 10.0.0.0/8" REPEAT_180(", 10.0.0.0/8"));
	cr_expect_eq(strlen(client->post_up.items[0]), strlen("true") + 180 * strlen(" && true"));
	cr_expect_eq(client->gateway.allowed_ips.count, 3);
	config_free_client(client);

	/* What is wrong is said, however long the line. */
	const struct refusal refusals[] = {
		{CLIENT "[Gateway]\nAllowedIPs = " REPEAT_180("10.0.0.0/8,") ",",
		 ":4: AllowedIPs = 10.0.0.0/8,10.0.0.0/8,"},
		{CLIENT "[Gateway]\nAllowedIPs = " REPEAT_180("10.0.0.0/8,") "10.0.0.0/33",
		 ":4: AllowedIPs = 10.0.0.0/33: no IP network;"},
	};
	all_refused(false, refusals, 2);
}

Test(config, as_many_networks_and_commands_as_there_are)
{
	enum { NETWORKS = 100000, COMMANDS = 1000 };
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	cr_assert_not_null(out);
	fputs(CLIENT, out);
	for (unsigned i = 0; i < COMMANDS; i++)
		fprintf(out, "PostUp = command %u\n", i);
	fputs("Networks = 192.0.2.0/24", out);
	for (unsigned i = 0; i < NETWORKS; i++)
		fprintf(out, ", 10.%u.%u.%u/31", i >> 15, i >> 7 & 0xff, i << 1 & 0xff);
	fputs("\n" REMOTE, out);
	fclose(out);
	struct client_config *config = load_client(text);
	free(text);
	cr_expect_eq(config->networks.count, NETWORKS + 1);
	cr_assert_eq(config->post_up.count, COMMANDS);
	cr_expect_str_eq(config->post_up.items[COMMANDS - 1], "command 999");
	config_free_client(config);
}

Test(config, a_semicolon_is_part_of_a_value)
{
	struct client_config *config = load_client(
		"; a comment\n [Client] # the client\nPrivateKeyFile = a;b # key\n"
		"PostUp = one ; two # three\nPostUp = echo '#' \"a;b\"\nPostDown = a; b\n"
		"  ; another\n#\n" REMOTE);
	cr_expect_str_eq(config->post_up.items[0], "one ; two # three", "the shell has comments of its own");
	cr_expect_str_eq(config->post_up.items[1], "echo '#' \"a;b\"");
	cr_expect_str_eq(config->post_down.items[0], "a; b");
	cr_expect_str_eq(strrchr(config->common.private_key_file, '/') + 1, "a;b");
	config_free_client(config);

	const struct refusal refusals[] = {
		{POOL "MTU = 1400 ; a comment?\n", ":4: MTU = 1400 ; a comment?: not a number"},
		{POOL "MTU = # nothing\n", ":4: MTU = : nothing given"},
		{"[Gateway] ; the gateway\n", ":1: [Gateway] ; the gateway: not a section"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

Test(config, refuses_what_is_no_configuration)
{
	const struct refusal refusals[] = {
		{"", ": no [Gateway] section"},
		{"# nothing\n", ": no [Gateway] section"},
		{PEER(KEY_A), ": no [Gateway] section"},
		{"MTU = 1400\n" POOL, ":1: MTU = 1400: not in a section; this file has [Gateway] and [Peer]"},
		{POOL "[Peers]\n", ":4: [Peers]: unknown section; this file has [Gateway] and [Peer]"},
		{POOL "[]\n", ":4: []: unknown section"},
		{POOL "[Gateway\n", ":4: [Gateway: not a section"},
		{POOL "[Peer] x\n", ":4: [Peer] x: not a section"},
		{POOL "[Peer]]\n", ":4: [Peer]]: not a section"},
		{POOL PEER(KEY_A) "[Gateway]\n", ":6: [Gateway]: a second one; put its keys under line 1's"},
		{POOL "Mtus = 1400\n", ":4: Mtus = 1400: unknown key in [Gateway]"},
		{POOL "MTU: 1400\n", ":4: MTU: 1400: not a setting"},
		{POOL "MTU 1400\n", ":4: MTU 1400: not a setting"},
		{POOL "= 1400\n", ":4: = 1400: not a setting"},
		{POOL "MTU = # 1400\n", ":4: MTU = : nothing given; write MTU = 576..65000"},
		{POOL "MTU = 1400\n  1300\n", ":5: 1300: not a setting"},
		{POOL "MTU = 1400\nmtu = 1400\n", ":5: MTU = 1400: given on line 4 already"},
		{POOL "MTU = 1400\x1b[1m\n", ":4: control characters: not a text file"},
		{"[Gateway]\nAddress = 10.8.0.1/16\n",
		 ":1: [Gateway]: PrivateKeyFile is missing; write PrivateKeyFile = PATH"},
		{GATEWAY, ":1: [Gateway]: Address is missing"},
		{POOL "[Peer]\nAddress = 10.8.0.7\n" PEER(KEY_A), ":4: [Peer]: PublicKey is missing"},
		{"[Peer]\n" POOL, ":1: [Peer]: PublicKey is missing"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));

	static const char zero[] = POOL "MTU = 1400\0 = 5\n";
	refused(true, zero, sizeof zero - 1, ":4: zero bytes: not a text file");
	const struct refusal client_refusals[] = {
		{POOL, ":2: PrivateKeyFile = gw.key: unknown key in [Gateway]"},
		{CLIENT, ": no [Gateway] section"},
		{REMOTE, ": no [Client] section"},
		{CLIENT REMOTE REMOTE, ":7: [Gateway]: a second one"},
		{CLIENT "[Gateway]\nPublicKey = " KEY_A "\nEndpoint = h:1\n", ":3: [Gateway]: AllowedIPs is missing"},
	};
	all_refused(false, client_refusals, ARRAY_SIZE(client_refusals));
}

Test(config, refuses_bad_values)
{
	const struct refusal refusals[] = {
		{POOL "ListenPort = 0\n", ":4: ListenPort = 0: not a number from 1 to 65535"},
		{POOL "ListenPort = 65536\n", ":4: ListenPort = 65536: not a number"},
		{POOL "ListenPort = 5555x\n", ":4: ListenPort = 5555x: not a number"},
		{POOL "ListenPort = -1\n", ":4: ListenPort = -1: not a number"},
		{POOL "ListenPort = 18446744073709557171\n", ":4: ListenPort = 18446744073709557171: not a number"},
		{POOL "MTU = 575\n", ":4: MTU = 575: not a number from 576 to 65000"},
		{POOL "MTU = auto\n", ":4: MTU = auto: not a number"},
		{POOL "MaxSessions = 1048577\n", ":4: MaxSessions = 1048577: not a number from 1 to 1048576"},
		{POOL "Workers = 0\n", ":4: Workers = 0: neither 'auto' nor a number from 1 to 250"},
		{POOL "Workers = 251\n", ":4: Workers = 251: neither 'auto' nor a number"},
		{POOL "TunReaders = 17\n", ":4: TunReaders = 17: neither 'auto' nor a number from 0 to 16"},
		{POOL "TunReaders = -1\n", ":4: TunReaders = -1: neither 'auto' nor a number"},
		{POOL "Handshakers = 0\n", ":4: Handshakers = 0: neither 'auto' nor a number from 1 to 16"},
		{POOL "Handshakers = 17\n", ":4: Handshakers = 17: neither 'auto' nor a number"},
		{POOL "UdpBuffer = 63K\n", ":4: UdpBuffer = 63K: not a size from 65536 to 1073741824 bytes"},
		{POOL "UdpBuffer = M\n", ":4: UdpBuffer = M: not a size"},
		{POOL "UdpBuffer = 4294967295G\n", ":4: UdpBuffer = 4294967295G: not a size"},
		{POOL "ClientToClient = true\n", ":4: ClientToClient = true: neither 'yes' nor 'no'"},
		{POOL "Cipher = none\n", ":4: Cipher = none: no such cipher; auto, AES-256-GCM or"},
		{POOL "CryptoBackend = openssl\n", ":4: CryptoBackend = openssl: no such back end; use one of auto, "},
		{POOL "CryptoBackend = ipsec-mb:\n", ":4: CryptoBackend = ipsec-mb:: no such back end"},
		{POOL "DisableOffloads = udp-gro, tso\n", ":4: DisableOffloads = tso: no such offload; tun-checksum"},
		{POOL "DisableOffloads = udp-gro,\n", ":4: DisableOffloads = udp-gro,: nothing beside a comma"},
		{POOL "CpuPriority = urgent\n", ":4: CpuPriority = urgent: no such priority; normal, high or realtime"},
		{POOL "LogLevel = loud\n", ":4: LogLevel = loud: no such level; error, warning"},
		{POOL "Interface = shardtun00000000\n", ":4: Interface = shardtun00000000: no interface name"},
		{POOL "Interface = a/b\n", ":4: Interface = a/b: no interface name"},
		{POOL "Interface = tun%d\n", ":4: Interface = tun%d: no interface name"},
		{POOL "Interface = ..\n", ":4: Interface = ..: no interface name"},
		{POOL "ControlSocket = /" REPEAT_10("0123456789") "1234567\n", ":4: ControlSocket = /0123456789"},
		{POOL "ListenAddress = example.net\n", ":4: ListenAddress = example.net: no IP address"},
		{POOL "ListenAddress = 192.0.2.1\nListenAddress = ::1, 192.0.2.1\n",
		 ":5: ListenAddress = 192.0.2.1: given on line 4; write each once"},
		{POOL "ListenAddress = 192.0.2.1, ::\n",
		 ":4: ListenAddress = ::: all addresses beside the one on line 4"},
		{POOL "Masquerade = eth0/1\n", ":4: Masquerade = eth0/1: no interface name"},
		{POOL "Masquerade = eth0\nMasquerade = eth1, eth0\n",
		 ":5: Masquerade = eth0: given on line 4 already; write it once"},
		{POOL "Masquerade = shardtun0\n", ":4: Masquerade = shardtun0: the tunnel's own interface; write"},
		{POOL "[Peer]\nPublicKey = AAAA\n", ":5: PublicKey = AAAA: 4 characters are no key"},
		{POOL "[Peer]\nPublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", ":5: PublicKey = AAAA"},
		{POOL "[Peer]\nPublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n", ":5: PublicKey = AAAA"},
		{POOL "[Peer]\nPublicKey = AAAAAAAAAAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAAAA=\n", ":5: PublicKey = AAAA"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

#define CLUSTER POOL "ClusterNode = gw-1\n"

Test(config, a_cluster_needs_an_address_for_each_client_and_no_masquerade)
{
	struct gateway_config *config = load_gateway(CLUSTER "ClusterBlockSize = 16\nMaxSessions = 524288\n" PEER(
		KEY_A) "Address = 10.8.1.7\n" PEER(KEY_B) "Protocol = shardtun\nAddress = 10.8.1.8\n");
	cr_expect_str_eq(config->cluster_node, "gw-1");
	cr_expect_eq(config->cluster_block_size, 16);
	cr_expect_eq(config->cluster_link.port, 0);
	config_free_gateway(config);
	config = load_gateway(CLUSTER "ClusterLink = [fd00::2]:5556\n");
	cr_expect_str_eq(config->cluster_link.host, "fd00::2");
	cr_expect_eq(config->cluster_link.port, 5556);
	config_free_gateway(config);
	config = load_gateway(CLUSTER "ClusterOutside = eth0\nClusterInterface = eth1\n");
	cr_expect_str_eq(config->cluster_outside, "eth0");
	cr_expect_str_eq(config->cluster_interface, "eth1");
	config_free_gateway(config);
	const struct refusal refusals[] = {
		{POOL "ClusterNode = Gw1\n", ":4: ClusterNode = Gw1: no name of a node; 1 to 32 of a-z, 0-9 and '-'"},
		{POOL "ClusterNode = a.b\n", ":4: ClusterNode = a.b: no name of a node"},
		{POOL "ClusterNode = abcdefghijklmnopqrstuvwxyz0123456\n",
		 ":4: ClusterNode = abcdefghijklmnopqrstuvwxyz0123456: no name; 1 to 32"},
		{POOL "ClusterBlockSize = 4097\n", ":4: ClusterBlockSize = 4097: not a power of two from 16 to 65536"},
		{POOL "ClusterBlockSize = 8\n", ":4: ClusterBlockSize = 8: not a number from 16 to 65536"},
		{POOL "ClusterBlockSize = 131072\n", ":4: ClusterBlockSize = 131072: not a number from 16"},
		{POOL "ClusterLink = 192.0.2.1:5556\n", ":4: ClusterLink = 192.0.2.1: without ClusterNode"},
		{CLUSTER "ClusterLink = gw.example.net:5556\n", ":5: ClusterLink = gw.example.net: no address of a"},
		{CLUSTER "ClusterLink = 224.0.0.1:5556\n", ":5: ClusterLink = 224.0.0.1: no address of a host"},
		{CLUSTER "ClusterLink = 192.0.2.1\n", ":5: ClusterLink = 192.0.2.1: "},
		{POOL "ClusterOutside = eth0\nClusterInterface = eth1\n",
		 ":4: ClusterOutside = eth0: without ClusterNode"},
		{POOL "ClusterInterface = eth1\n", ":4: ClusterInterface = eth1: without ClusterNode"},
		{CLUSTER "ClusterOutside = eth0\n", ":5: ClusterOutside: without ClusterInterface"},
		{CLUSTER "ClusterInterface = eth1\n", ":5: ClusterInterface: without ClusterOutside"},
		{CLUSTER "ClusterOutside = eth0\nClusterInterface = eth0\n",
		 ":6: ClusterInterface = eth0: ClusterOutside is the same"},
		{CLUSTER "MaxSessions = 524289\n", ":5: MaxSessions = 524289: with ClusterNode at most 524288"},
		{CLUSTER "Masquerade = eth0\n",
		 ":5: Masquerade = eth0: with ClusterNode connections would break when a client moves"},
		{CLUSTER PEER(KEY_A) "Address = 10.8.1.7\n" PEER(KEY_B),
		 ":9: PublicKey = " KEY_B ": without Address; with ClusterNode each client needs one"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

#define ENDPOINT(text) CLIENT "[Gateway]\nEndpoint = " text "\n"

Test(config, refuses_bad_client_values)
{
	const struct refusal refusals[] = {
		{ENDPOINT("vpn.example.net"), ":4: Endpoint = vpn.example.net: not host:port"},
		{ENDPOINT(":5555"), ":4: Endpoint = :5555: not host:port"},
		{ENDPOINT("h:"), ":4: Endpoint = h:: no port after the colon"},
		{ENDPOINT("h:0"), ":4: Endpoint = h:0: no port after the colon"},
		{ENDPOINT("h:65536"), ":4: Endpoint = h:65536: no port after the colon"},
		{ENDPOINT("2001:db8::1"),
		 ":4: Endpoint = 2001:db8::1: an IPv6 address without port; write [address]:port"},
		{ENDPOINT("2001:db8:0:0:0:0:0:1:5555"),
		 ":4: Endpoint = 2001:db8:0:0:0:0:0:1:5555: an IPv6 address without brackets"},
		{ENDPOINT("[]:5"), ":4: Endpoint = []:5: a host of 0 characters"},
		{ENDPOINT("[h]:5"), ":4: Endpoint = [h]:5: no IPv6 address between the brackets"},
		{ENDPOINT("a b:5"), ":4: Endpoint = a b:5: ' ' is no part of a host name"},
		{CLIENT "MTU = 100\n", ":3: MTU = 100: neither 'auto' nor a number from 576 to 65000"},
		{CLIENT "MTU = 1279\n" REMOTE, ":3: MTU = 1279: too small for the IPv6 in AllowedIPs; at least 1280"},
		{CLIENT "RouteTable = 0\n",
		 ":3: RouteTable = 0: neither 'auto' nor 'off' nor a number from 1 to 4294967294"},
		{CLIENT "RouteTable = 4294967296\n", ":3: RouteTable = 4294967296: neither"},
		{CLIENT "RouteTable = 254\n" REMOTE, ":3: RouteTable = 254: the kernel's own"},
		{CLIENT REMOTE "PersistentKeepalive = 65536\n", ":7: PersistentKeepalive = 65536: neither 'off' nor"},
		{CLIENT REMOTE "AllowedIPs = 10.0.0.0/33\n", ":7: AllowedIPs = 10.0.0.0/33: no IP network"},
		{CLIENT REMOTE "AllowedIPs = 10.0.0.0/8,,::/0\n",
		 ":7: AllowedIPs = 10.0.0.0/8,,::/0: nothing beside a comma"},
	};
	all_refused(false, refusals, ARRAY_SIZE(refusals));
}

/* An example with what stands behind "# Key = " in force; the caller frees it. */
static char *uncomment(const char *path)
{
	char *text, *line = NULL;
	size_t size, capacity = 0;
	FILE *in = fopen(path, "r");
	FILE *out = open_memstream(&text, &size);
	cr_assert(in != NULL && out != NULL, "run from the top of the tree");
	while (getline(&line, &capacity, in) > 0) {
		size_t word = strspn(line + (line[0] == '#' ? 2 : 0),
				     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
		bool option = strncmp(line, "# ", 2) == 0 && strncmp(line + 2 + word, " = ", 3) == 0 &&
			      strncmp(line + 2, "Peers", 5) != 0 &&   /* they are no files here */
			      strncmp(line + 2, "Cluster", 7) != 0 && /* not with Masquerade */
			      strcmp(line + 2 + word, " = KEY\n") != 0;
		fputs(option ? line + 2 : line, out);
	}
	free(line);
	fclose(in);
	fclose(out);
	return text;
}

Test(config, examples_are_right_with_all_their_options)
{
	struct gateway_config *gateway;
	struct client_config *client;
	struct error error = {0};
	cr_assert_eq(config_load_gateway("config/examples/gateway.conf", &gateway, &error), 0, "%s", error.text);
	cr_expect_str_eq(gateway->common.private_key_file, "config/examples/gateway.key");
	config_free_gateway(gateway);
	cr_assert_eq(config_load_client("config/examples/client.conf", &client, &error), 0, "%s", error.text);
	config_free_client(client);

	char *text = uncomment("config/examples/gateway.conf");
	gateway = load_gateway(text);
	cr_expect_eq(gateway->listen_addresses.count, 2);
	cr_expect_eq(gateway->peers[0].addresses.count, 2);
	cr_expect_eq(gateway->peers[0].allowed_ips.count, 2);
	config_free_gateway(gateway);
	free(text);
	text = uncomment("config/examples/client.conf");
	client = load_client(text);
	cr_expect_eq(client->gateway.persistent_keepalive, 25);
	config_free_client(client);
	free(text);
}

Test(config, says_why_a_file_cannot_be_read)
{
	struct gateway_config *config = (void *)1;
	struct error error = {0};
	cr_expect_eq(config_load_gateway("/nonexistent/f", &config, &error), -ENOENT);
	cr_expect_str_eq(error.text, "/nonexistent/f: cannot be opened (No such file or directory)");
	cr_expect_null(config);
	cr_expect_eq(config_load_gateway("/", &config, &error), -EISDIR);
	cr_expect_str_eq(error.text, "/: a directory; name a file");
	cr_expect_null(config);
	config_free_gateway(config); /* NULL is fine */
	config_free_client(NULL);
}

Test(config, prints_each_option_once)
{
	static const struct {
		enum config_section section;
		const char *start, *option, *not_there;
	} sections[] = {
		{CONFIG_SECTION_GATEWAY, "[Gateway]\n", "\n  ListenPort = 1..65535 ", "PublicKey"},
		{CONFIG_SECTION_PEER, "[Peer]\n", "\n  PublicKey = KEY ", "ListenPort"},
		{CONFIG_SECTION_CLIENT, "[Client]\n", "\n  RouteTable = auto|off|1..4294967294 ", "Workers"},
		{CONFIG_SECTION_REMOTE, "[Gateway]\n", "\n  Endpoint = HOST:PORT ", "ListenPort"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
		char *text;
		size_t size;
		FILE *out = open_memstream(&text, &size);
		config_print_options(out, sections[i].section);
		fclose(out);
		cr_expect_eq(strncmp(text, sections[i].start, strlen(sections[i].start)), 0);
		const char *first = strstr(text, sections[i].option);
		cr_assert_not_null(first, "%s", text);
		cr_expect_null(strstr(first + 1, sections[i].option));
		cr_expect_null(strstr(text, sections[i].not_there));
		free(text);
	}
}
