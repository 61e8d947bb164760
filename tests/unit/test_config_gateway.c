// SPDX-License-Identifier: Apache-2.0
/* The gateway's file: addresses, threads, peers and their networks, as far as they must go together. */
#include <criterion/criterion.h>
#include <time.h>

#include "tests/unit/config_files.h"

Test(config_gateway, refuses_unfit_gateway_addresses)
{
	const struct refusal refusals[] = {
		{GATEWAY "Address = 10.8.0.1\n",
		 ":3: Address = 10.8.0.1/32: not a network to give clients addresses from"},
		{GATEWAY "Address = 10.8.0.1/31\n", ":3: Address = 10.8.0.1/31: not a network to give"},
		{GATEWAY "Address = 10.8.0.1/7\n", ":3: Address = 10.8.0.1/7: not a network to give"},
		{GATEWAY "Address = fd00::1/127\n", ":3: Address = fd00::1/127: not a network to give"},
		{GATEWAY "Address = 10.8.0.0/16\n", ":3: Address = 10.8.0.0/16: the network itself"},
		{GATEWAY "Address = 10.8.255.255/16\n", ":3: Address = 10.8.255.255/16: the network's broadcast"},
		{GATEWAY "Address = fd00::/64\n", ":3: Address = fd00::/64: the network itself"},
		{GATEWAY "Address = 127.0.0.1/8\n", ":3: Address = 127.0.0.1/8: a loopback address"},
		{GATEWAY "Address = 224.0.0.1/8\n", ":3: Address = 224.0.0.1/8: a multicast address"},
		{GATEWAY "Address = 169.254.0.1/16\n", ":3: Address = 169.254.0.1/16: a link-local address"},
		{GATEWAY "Address = 240.0.0.1/8\n", ":3: Address = 240.0.0.1/8: a reserved address"},
		{GATEWAY "Address = fe80::1/64\n", ":3: Address = fe80::1/64: a link-local address"},
		{GATEWAY "Address = ff02::1/64\n", ":3: Address = ff02::1/64: a multicast address"},
		{GATEWAY "Address = ::1/64\n", ":3: Address = ::1/64: a loopback address"},
		{GATEWAY "Address = 10.8.0.1/16\nAddress = 10.8.1.1/24\n",
		 ":4: Address = 10.8.1.1/24: a second IPv4 network"},
		{GATEWAY "Address = fd00::1/64, fd01::1/64\n", ":3: Address = fd01::1/64: a second IPv6 network"},
		{POOL "Address = 10.9.0.1/16\n", ":4: Address = 10.9.0.1/16: one network too many; at most 2"},
		{POOL "MTU = 1279\n", ":4: MTU = 1279: too small for the IPv6 in Address; at least 1280"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
	config_free_gateway(load_gateway(GATEWAY "Address = 10.8.0.1/30\nMTU = 576\n"));
}

Test(config_gateway, refuses_peers_in_conflict)
{
	const struct refusal refusals[] = {
		{POOL PEER(KEY_A) PEER(KEY_B) PEER(KEY_A),
		 ":9: PublicKey = " KEY_A ": the peer on line 5 has this key"},
		{POOL PEER(KEY_A) "Address = 10.9.0.7\n", ":6: Address = 10.9.0.7: outside the pool"},
		{GATEWAY "Address = 10.8.0.1/16\n" PEER(KEY_A) "Address = fd00:8::7\n",
		 ":6: Address = fd00:8::7: outside the pool"},
		{POOL PEER(KEY_A) "Address = 10.8.0.1\n", ":6: Address = 10.8.0.1: the gateway's own address"},
		{POOL PEER(KEY_A) "Address = fd00:8::1\n", ":6: Address = fd00:8::1: the gateway's own address"},
		{POOL PEER(KEY_A) "Address = 10.8.0.0\n", ":6: Address = 10.8.0.0: the network itself"},
		{POOL PEER(KEY_A) "Address = fd00:8::\n", ":6: Address = fd00:8::: the network itself"},
		{POOL PEER(KEY_A) "Address = 10.8.255.255\n", ":6: Address = 10.8.255.255: the network's broadcast"},
		{POOL PEER(KEY_A) "Address = fd00:8::1:0\n",
		 ":6: Address = fd00:8::1:0: beyond the gateway's other, smaller network"},
		{POOL PEER(KEY_A) "Address = 10.8.0.7/32\n", ":6: Address = 10.8.0.7/32: no IP address"},
		{POOL PEER(KEY_A) "Address = 10.8.0.7\nAddress = 10.8.0.8\n",
		 ":7: Address = 10.8.0.8: this peer's second IPv4 address"},
		{POOL PEER(KEY_A) "Address = 10.8.0.10\nAddress = fd00:8::10\n",
		 ":7: Address = fd00:8::10: not what goes with 10.8.0.10; fd00:8::a does"},
		{POOL PEER(KEY_A) "Address = 10.8.0.7\n" PEER(KEY_B) "Address = 10.8.0.7\n",
		 ":9: Address = 10.8.0.7: the peer on line 6 has it"},
		{POOL PEER(KEY_A) "Address = 10.8.0.7\n" PEER(KEY_B) "Address = fd00:8::7\n",
		 ":9: Address = fd00:8::7: the peer on line 6 has it, or the one that goes with it"},
		{GATEWAY "Address = 10.8.0.1/16, fd00:8::99/64\n" PEER(KEY_A) "Address = 10.8.0.153\n",
		 ":6: Address = 10.8.0.153: the gateway's own address"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

Test(config_gateway, threads)
{
	static const struct {
		const char *text;
		uint32_t workers;
		int32_t readers;
	} files[] = {
		{POOL, 0, CONFIG_AUTO},
		{POOL "Workers = auto\nTunReaders = AUTO\n", 0, CONFIG_AUTO},
		{POOL "Workers = 1\n", 1, CONFIG_AUTO},
		{POOL "Workers = 7\nTunReaders = 1\n", 7, 1},
		{POOL "TunReaders = 16\n", 0, 16},
		{POOL "TunReaders = 0\n", 0, 0},
		{POOL "TunReaders = 0\nWorkers = auto\n", 0, 0},
		{POOL "TunReaders = 0\nWorkers = 250\n", 250, 0},
		{POOL "Workers = 240\nTunReaders = 16\n", 240, 16},
	};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct gateway_config *config = load_gateway(files[i].text);
		cr_expect_eq(config->workers, files[i].workers, "%s", files[i].text);
		cr_expect_eq(config->tun_readers, files[i].readers, "%s", files[i].text);
		config_free_gateway(config);
	}

	const struct refusal refusals[] = {
		{POOL "Workers = 241\nTunReaders = 16\n",
		 ":5: TunReaders = 16: a TUN interface has 256 queues, and the 241 workers need one each; at most 15"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

Test(config_gateway, networks_behind_peers)
{
	static const char *const expected[] = {"192.168.7.0/24", "192.168.8.9/32", "fd00:7::/48", "fd00:7::/64"};
	struct gateway_config *config = load_gateway(
		POOL PEER(KEY_A) "AllowedIPs = fd00:7::/64, 192.168.7.5/24\nAllowedIPs = 192.168.8.9\n"
				 "AllowedIPs = 192.168.7.0/24, fd00:7::99/48\n" PEER(KEY_B));
	const struct config_prefixes *networks = &config->peers[0].allowed_ips;
	cr_assert_eq(networks->count, ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		char text[IP_TEXT_MAX];
		cr_expect_str_eq(ip_prefix_format(&networks->items[i], text), expected[i]);
	}
	cr_expect_eq(networks->lines[1], 7);
	cr_expect_eq(config->peers[1].allowed_ips.count, 0);
	config_free_gateway(config);
}

Test(config_gateway, networks_behind_peers_may_be_nested)
{
	struct gateway_config *config = load_gateway(POOL PEER(KEY_A) "AllowedIPs = 192.168.0.0/16, 10.9.0.0/16\n" PEER(
		KEY_B) "AllowedIPs = 192.168.7.0/24, 192.168.0.0/17, 10.7.0.0/16, fd00:7::/64\n");
	cr_expect_eq(config->peers[0].allowed_ips.count, 2);
	cr_expect_eq(config->peers[1].allowed_ips.count, 4);
	config_free_gateway(config);
}

#define BEHIND(networks) POOL PEER(KEY_A) "AllowedIPs = " networks "\n"

Test(config_gateway, refuses_unfit_networks_behind_peers)
{
	const struct refusal refusals[] = {
		{BEHIND("0.0.0.0/0"), ":6: AllowedIPs = 0.0.0.0/0: everything, which no single client can have"},
		{BEHIND("192.168.7.1/0"), ":6: AllowedIPs = 192.168.7.1/0: everything"},
		{BEHIND("192.168.7.0/24, ::/0"), ":6: AllowedIPs = ::/0: everything"},
		{BEHIND("192.168.7.0/24\nAllowedIPs = 10.8.0.0/16"),
		 ":7: AllowedIPs = 10.8.0.0/16: overlaps the pool, 10.8.0.1/16 on line 3"},
		{BEHIND("10.8.4.1/24"), ":6: AllowedIPs = 10.8.4.1/24: overlaps the pool"},
		{BEHIND("10.8.0.7"), ":6: AllowedIPs = 10.8.0.7/32: overlaps the pool"},
		{BEHIND("10.0.0.0/8"), ":6: AllowedIPs = 10.0.0.0/8: overlaps the pool"},
		{BEHIND("fd00:8::/80"), ":6: AllowedIPs = fd00:8::/80: overlaps the pool, fd00:8::1/64 on line 3"},
		{BEHIND("fd00::/16"), ":6: AllowedIPs = fd00::/16: overlaps the pool"},
		{BEHIND("127.1.0.0/16"), ":6: AllowedIPs = 127.1.0.0/16: a loopback address"},
		{BEHIND("224.0.0.0/4"), ":6: AllowedIPs = 224.0.0.0/4: a multicast address"},
		{BEHIND("169.254.0.0/16"), ":6: AllowedIPs = 169.254.0.0/16: a link-local address"},
		{BEHIND("fe80::/10"), ":6: AllowedIPs = fe80::/10: a link-local address"},
		{BEHIND("::ffff:192.0.2.0/120"), ":6: AllowedIPs = ::ffff:192.0.2.0/120: no IP network"},
		{BEHIND("192.168.7.0/33"), ":6: AllowedIPs = 192.168.7.0/33: no IP network"},
		{BEHIND("192.168.7.0/24,"), ":6: AllowedIPs = 192.168.7.0/24,: nothing beside a comma"},
		{GATEWAY "Address = 10.8.0.1/16\nMTU = 1279\n" PEER(KEY_A) "AllowedIPs = fd00:7::/64\n",
		 ":4: MTU = 1279: too small for the IPv6 in AllowedIPs; at least 1280"},
		{BEHIND("192.168.7.0/24") PEER(KEY_B) "AllowedIPs = 192.168.6.0/24\nAllowedIPs = 192.168.7.1/24\n",
		 ":10: AllowedIPs = 192.168.7.0/24: behind the peer on line 6 already; take one away"},
		{BEHIND("fd00:7::/64, fd00:9::/64") PEER(KEY_B) "AllowedIPs = fd00:7::/48, fd00:9::/64\n",
		 ":9: AllowedIPs = fd00:9::/64: behind the peer on line 6 already"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

/* Peers with an address and two networks each; nested in pairs. Every fourth has the wide network. */
static char *many_peers(unsigned count, const char *end)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	fputs(GATEWAY "Address = 10.0.0.1/12, fd00:8::1/64\n", out);
	for (unsigned i = 0; i < count; i++) {
		unsigned address = (10u << 24) + i + 2, network = (11u << 24) + 64 * i;
		fprintf(out, "[Peer]\nPublicKey = %c%c%c%s\nAddress = %u.%u.%u.%u\n", letters[i >> 12 & 63],
			letters[i >> 6 & 63], letters[i & 63], &KEY_A[3], address >> 24, address >> 16 & 255,
			address >> 8 & 255, address & 255);
		fprintf(out, "AllowedIPs = %u.%u.%u.%u/%u, fd07:%x:%x::/48\n", network >> 24, network >> 16 & 255,
			network >> 8 & 255, network & 255, i % 4 == 0 ? 24 : 26, i >> 16, i & 0xffff);
	}
	fputs(end, out);
	fclose(out);
	return text;
}

/* CPU time of one load: under half a second, with sanitizers two; a loop over all pairs of networks takes minutes. */
enum { MANY_PEERS = 100000, LOAD_SECONDS_MAX = 20 };

Test(config_gateway, a_hundred_thousand_peers)
{
	char *text = many_peers(MANY_PEERS, "");
	clock_t start = clock();
	struct gateway_config *config = load_gateway(text);
	cr_expect_lt((clock() - start) / CLOCKS_PER_SEC, LOAD_SECONDS_MAX);
	cr_expect_eq(config->peer_count, MANY_PEERS);
	cr_expect_eq(config->peers[MANY_PEERS - 1].addresses.count, 1);
	cr_expect_eq(config->peers[MANY_PEERS - 1].allowed_ips.count, 2);
	config_free_gateway(config);
	free(text);

	text = many_peers(MANY_PEERS,
			  PEER("////////////////////////////////////////AAA=") "AllowedIPs = 11.0.1.0/24\n");
	refused(true, text, strlen(text), ":400006: AllowedIPs = 11.0.1.0/24: behind the peer on line 23 already");
	free(text);
}

Test(config, what_a_gateway_tells_its_clients)
{
	struct gateway_config *config = load_gateway(POOL "DNS = 10.8.0.1, fd00:8::1\nRoutes = 192.168.1.5/16, ::/0\n");
	cr_expect_eq(config->dns.count, 2);
	cr_assert_eq(config->routes.count, 2);
	cr_expect_eq(config->routes.items[0].address.bytes[2], 0, "a network has no host bits");
	config_free_gateway(config);
	static const struct refusal refusals[] = {
		{POOL "DNS = auto\n", ":4: DNS = auto: no IP address"},
		{POOL "Routes = 10.8.0.0/33\n", ":4: Routes = 10.8.0.0/33: no IP network"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

Test(config_gateway, limits)
{
	struct gateway_config *config = load_gateway(
		POOL "Quota = 100g/Month\nQuotaRate = 1M\nInterface = other\n" PEER(KEY_A)
			PEER(KEY_B) "Quota = off\nQuotaRate = off\nRateUp = 8K\n");
	cr_expect_eq(config->limits.quota.bytes, 100ull << 30);
	cr_expect_eq(config->limits.quota.period, CALENDAR_MONTH);
	cr_expect_eq(config->limits.quota_rate, 1000u);
	cr_expect_str_eq(config->quota_file, "/var/lib/shardtun/quota-other");
	cr_expect(config->peers[0].limits.quota.bytes == 0 && config->peers[0].limits.quota_rate == 0, "not set");
	cr_expect_eq(config->peers[1].limits.quota.bytes, CONFIG_QUOTA_OFF);
	cr_expect_eq(config->peers[1].limits.quota_rate, CONFIG_RATE_OFF);
	config_free_gateway(config);
	config = load_gateway(POOL "Quota = 1024T/week\nQuotaFile = /x\n" PEER(KEY_A) "Quota = 65536/day\n");
	cr_expect_eq(config->limits.quota.bytes, 1ull << 50);
	cr_expect_eq(config->peers[0].limits.quota.bytes, 65536u);
	cr_expect_eq(config->peers[0].limits.quota.period, CALENDAR_DAY);
	cr_expect_str_eq(config->quota_file, "/x");
	config_free_gateway(config);

	static const char *const wrong[] = {
		"0",	     "0/month",	      "100G",	 "/month",	"65535/day",	  "63K/day",
		"1025T/day", "100G/year",     "100G/",	 "100G /month", "100Gb/month",	  "100G/months",
		"-1/month",  "1e9/day",	      "G/month", "off/month",	"4294967296/day", "4294967295T/day",
		"1.5G/day",  "100G/month/day"};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char text[256], expected[128];
		snprintf(text, sizeof text, POOL "Quota = %s\n", wrong[i]);
		snprintf(expected, sizeof expected, ":4: Quota = %s: neither 'off' nor 64K to 1024T bytes in a day",
			 wrong[i]);
		refused(true, text, strlen(text), expected);
	}
}
