// SPDX-License-Identifier: Apache-2.0
/* What asking costs whether an address is in AllowedIPs, by the number of networks and of their prefix lengths: in the
 * set that the client has, and in a list, walked as the client once did. */
#include "core/base/ip_set.h"
#include "perf/bench/micro/micro.h"

enum { ADDRESSES = 4096, NETWORKS_MOST = 12000 };

struct bench {
	struct ip_set set;
	struct ip_prefix networks[NETWORKS_MOST];
	size_t count;
	struct ip_address addresses[ADDRESSES]; /* of one of the networks each, at random */
};

static void ask_set(void *context)
{
	const struct bench *bench = context;
	for (size_t i = 0; i < ADDRESSES; i++)
		MICRO_KEEP(ip_set_contains(&bench->set, &bench->addresses[i]));
}

static void ask_list(void *context)
{
	const struct bench *bench = context;
	for (size_t i = 0; i < ADDRESSES; i++) {
		size_t n = 0;
		while (n < bench->count && !ip_prefix_contains(&bench->networks[n], &bench->addresses[i]))
			n++;
		MICRO_KEEP(n);
	}
}

/* Every second network of a length, so that no two touch. */
static void fill(struct bench *bench, size_t count, unsigned lengths)
{
	bench->count = count;
	for (size_t i = 0; i < count; i++) {
		struct ip_prefix *network = &bench->networks[i];
		*network = (struct ip_prefix){.address.family = 4, .length = (uint8_t)(17 + i % lengths)};
		uint32_t address = (uint32_t)i * 0x50000;
		for (unsigned byte = 0; byte < 4; byte++)
			network->address.bytes[byte] = (uint8_t)(address >> (24 - 8 * byte));
	}
	if (ip_set_init(&bench->set, bench->networks, count) != 0)
		abort();
	unsigned seed = 1;
	for (size_t i = 0; i < ADDRESSES; i++)
		bench->addresses[i] = bench->networks[(size_t)rand_r(&seed) % count].address;
}

int main(void)
{
	static const size_t counts[] = {3, 30, 1000, NETWORKS_MOST};
	static struct bench bench;
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		char name[64];
		fill(&bench, counts[i], 14);
		snprintf(name, sizeof name, "AllowedIPs, %zu networks, set", counts[i]);
		micro_report(name, ask_set, &bench, 1, ADDRESSES);
		snprintf(name, sizeof name, "AllowedIPs, %zu networks, list", counts[i]);
		micro_report(name, ask_list, &bench, 1, ADDRESSES);
		ip_set_deinit(&bench.set);
	}
	return 0;
}
