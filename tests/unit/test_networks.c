// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/networks.h"

#include <criterion/criterion.h>
#include <time.h>

#include "tests/harness/packets.h"

static struct networks table;

static void open_table(void)
{
	rcu_join();
	networks_init(&table);
}

static void close_table(void)
{
	rcu_leave();
	rcu_after_readers_barrier();
	networks_deinit(&table);
}

TestSuite(networks, .init = open_table, .fini = close_table, .timeout = 120);

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix parsed;
	cr_assert(ip_prefix_parse(text, &parsed), "\"%s\"", text);
	return parsed;
}

static struct network_route *add(const char *text)
{
	struct ip_prefix network = prefix(text);
	struct network_route *route;
	struct error error = {0};
	cr_assert(networks_add(&table, &network, NULL, &route, &error) == 0, "%s", error.text);
	return route;
}

static struct network_route *find(const struct ip_address *address)
{
	return networks_find(&table, address->family, address->bytes);
}

/* The network that an address is found in, as text. */
static const char *found(const char *text)
{
	static char answer[IP_TEXT_MAX];
	struct ip_address address;
	cr_assert(ip_address_parse(text, &address), "\"%s\"", text);
	struct network_route *route = find(&address);
	return route != NULL ? ip_prefix_format(&route->prefix, answer) : "none";
}

static bool is_empty(void)
{
	return table.ipv4.array == NULL && table.ipv6.array == NULL;
}

Test(networks, an_empty_table_finds_nothing)
{
	cr_assert_str_eq(found("10.0.0.1"), "none");
	cr_assert_str_eq(found("fd00::1"), "none");
	cr_assert(is_empty());
}

Test(networks, the_longest_one_counts)
{
	add("10.0.0.0/8");
	struct network_route *middle = add("10.1.0.0/16");
	add("10.1.2.0/24");
	add("10.1.2.3");
	cr_assert_str_eq(found("10.1.2.3"), "10.1.2.3/32");
	cr_assert_str_eq(found("10.1.2.4"), "10.1.2.0/24");
	cr_assert_str_eq(found("10.1.3.3"), "10.1.0.0/16");
	cr_assert_str_eq(found("10.2.2.3"), "10.0.0.0/8");
	cr_assert_str_eq(found("11.1.2.3"), "none");

	networks_remove(&table, middle);
	cr_assert_str_eq(found("10.1.2.4"), "10.1.2.0/24");
	cr_assert_str_eq(found("10.1.3.3"), "10.0.0.0/8");
	add("10.1.0.0/16");
	cr_assert_str_eq(found("10.1.3.3"), "10.1.0.0/16");
}

Test(networks, the_longest_one_counts_in_ipv6)
{
	add("2000::/3");
	add("2001:db8::/32");
	add("2001:db8:1::/48");
	add("2001:db8:1:2::/64");
	add("2001:db8:1:2:3::/80");
	add("2001:db8:1:2:3::4");
	cr_assert_str_eq(found("2001:db8:1:2:3::4"), "2001:db8:1:2:3::4/128");
	cr_assert_str_eq(found("2001:db8:1:2:3::5"), "2001:db8:1:2:3::/80");
	cr_assert_str_eq(found("2001:db8:1:2:4::4"), "2001:db8:1:2::/64");
	cr_assert_str_eq(found("2001:db8:1:3::4"), "2001:db8:1::/48");
	cr_assert_str_eq(found("2001:db8:2::4"), "2001:db8::/32");
	cr_assert_str_eq(found("3fff::"), "2000::/3");
	cr_assert_str_eq(found("4000::"), "none");
}

Test(networks, families_are_apart)
{
	add("10.0.0.0/8");
	cr_assert_str_eq(found("a00::"), "none", "the same bits");
	struct network_route *route = add("a00::/8");
	cr_assert_str_eq(found("a00::"), "a00::/8");
	cr_assert_str_eq(found("10.0.0.0"), "10.0.0.0/8");
	networks_remove(&table, route);
	cr_assert_str_eq(found("a00::"), "none");
	cr_assert_str_eq(found("10.0.0.0"), "10.0.0.0/8");
}

Test(networks, host_bits_are_ignored)
{
	struct network_route *route = add("192.168.7.9/24");
	char text[IP_TEXT_MAX];
	cr_assert_str_eq(ip_prefix_format(&route->prefix, text), "192.168.7.0/24");
	cr_assert_str_eq(found("192.168.7.200"), "192.168.7.0/24");
}

Test(networks, what_is_refused_changes_nothing)
{
	const struct {
		struct ip_prefix prefix;
		int code;
	} cases[] = {
		{prefix("0.0.0.0/0"), -EINVAL},
		{prefix("10.0.0.0/0"), -EINVAL},
		{prefix("::/0"), -EINVAL},
		{{.address.family = 4, .length = 33}, -EINVAL},
		{{.address.family = 6, .length = 129}, -EINVAL},
		{{.address.family = 0, .length = 8}, -EINVAL},
		{{.address.family = 5, .length = 8}, -EINVAL},
		{prefix("10.0.0.0/8"), -EEXIST},
		{prefix("10.1.2.3/8"), -EEXIST},
		{prefix("fd00::/8"), -EEXIST},
	};
	struct network_route *in4 = add("10.0.0.0/8");
	struct network_route *in6 = add("fd00::/8");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct network_route *route = in4;
		struct error error = {0};
		cr_assert_eq(networks_add(&table, &cases[i].prefix, NULL, &route, &error), cases[i].code, "case %zu",
			     i);
		cr_assert(error.text[0] != '\0' && route == in4, "case %zu", i);
	}
	cr_assert_str_eq(found("10.1.2.3"), "10.0.0.0/8");
	cr_assert_str_eq(found("fd00::1"), "fd00::/8");
	cr_assert_str_eq(found("11.0.0.0"), "none");
	networks_remove(&table, in4);
	networks_remove(&table, in6);
	cr_assert(is_empty());
}

Test(networks, addresses_need_no_alignment)
{
	add("10.0.0.0/8");
	add("fd00::/8");
	uint8_t bytes[17] = {0, 10};
	cr_assert_not_null(networks_find(&table, 4, bytes + 1));
	bytes[1] = 0xfd;
	cr_assert_not_null(networks_find(&table, 6, bytes + 1));
}

Test(networks, the_session_is_the_last_one_activated)
{
	struct network_route *route = add("10.0.0.0/8");
	struct network_route *inside = add("10.1.0.0/16");
	cr_assert_eq(route_session(route), 0);
	route_activate(route, 7);
	cr_assert_eq(route_session(route), 7);
	cr_assert_eq(route_session(inside), 0);
	cr_assert_str_eq(found("10.1.0.1"), "10.1.0.0/16", "although nobody is there");
	route_activate(route, 9); /* in the place of 7, which ends now */
	cr_assert_not(route_deactivate(route, 7));
	cr_assert_eq(route_session(route), 9);
	cr_assert(route_deactivate(route, 9));
	cr_assert_eq(route_session(route), 0);
	cr_assert_not(route_deactivate(route, 9), "it ended already");
}

static void flip(struct ip_address *address, unsigned bit)
{
	address->bytes[bit / 8] ^= (uint8_t)(0x80u >> bit % 8);
}

/* A network, its sibling and the one around both: each must end at its very bit. */
static void check_boundary(const struct ip_prefix *network)
{
	char text[IP_TEXT_MAX];
	const char *name = ip_prefix_format(network, text);
	unsigned bits = network->address.family == 4 ? 32 : 128;
	struct network_route *route, *sibling_route, *around_route;
	struct ip_prefix sibling = *network, around = *network;
	flip(&sibling.address, network->length - 1u);
	around.length--;

	cr_assert(networks_add(&table, network, NULL, &route, NULL) == 0, "%s", name);
	cr_assert(find(&network->address) == route, "%s", name);
	for (unsigned bit = 0; bit < bits; bit++) {
		struct ip_address other = network->address;
		flip(&other, bit);
		cr_assert(find(&other) == (bit < network->length ? NULL : route), "%s, bit %u", name, bit);
	}
	cr_assert(networks_add(&table, &sibling, NULL, &sibling_route, NULL) == 0, "%s", name);
	cr_assert(find(&network->address) == route && find(&sibling.address) == sibling_route, "%s", name);
	if (around.length > 0) {
		cr_assert(networks_add(&table, &around, NULL, &around_route, NULL) == 0, "%s", name);
		networks_remove(&table, route);
		cr_assert(find(&network->address) == around_route, "%s", name);
		cr_assert(find(&sibling.address) == sibling_route, "%s", name);
		networks_remove(&table, around_route);
	} else {
		networks_remove(&table, route);
	}
	cr_assert(find(&network->address) == NULL && find(&sibling.address) == sibling_route, "%s", name);
	networks_remove(&table, sibling_route);
	cr_assert(is_empty(), "%s", name);
}

Test(networks, every_length_ends_at_its_bit)
{
	static const struct ip_address addresses[] = {
		{4, {0}},
		{4, {0xff, 0xff, 0xff, 0xff}},
		{4, {10, 0x5a, 0xa5, 0x81}},
		{6, {0}},
		{6, {[0 ... 15] = 0xff}},
		{6, {0xfd, 0x5a, 0xa5, 0x81, 1, 2, 3, 0xfe, 0x7f, 0x80, 0x55, 0xaa, 4, 5, 6, 0xfe}},
	};
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		for (unsigned length = 1; length <= (addresses[i].family == 4 ? 32 : 128); length++) {
			check_boundary(&(struct ip_prefix){addresses[i], (uint8_t)length});
			rcu_quiescent();
		}
	}
}

Test(networks, what_a_reader_holds_is_freed_after_it)
{
	struct network_route *route = add("10.0.0.0/8");
	route_activate(route, 7);
	networks_remove(&table, route);
	cr_assert_str_eq(found("10.0.0.1"), "none");
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* time for a premature free */
	cr_assert_eq(route_session(route), 7);
	cr_assert_eq(route->prefix.length, 8);
}

/* Against a linear scan. */

enum { MODEL_MAX = 300, MODEL_STEPS = 20000 };

struct model {
	struct network_route *routes[MODEL_MAX];
	size_t count;
	struct random random;
	unsigned nothing, one, nested; /* answers by how many networks had the address */
	unsigned refused;
};

static struct network_route *any_route(struct model *model)
{
	return model->routes[random_below(&model->random, (uint32_t)model->count)];
}

/* Mostly inside, around or beside a network that is there. */
static struct ip_prefix random_prefix(struct model *model)
{
	struct random *random = &model->random;
	struct ip_prefix made = {.address.family = random_chance(random, 50) ? 4 : 6};
	unsigned bits = made.address.family == 4 ? 32 : 128;
	made.length = (uint8_t)(1 + random_below(random, bits));
	random_fill(random, made.address.bytes, bits / 8);
	if (model->count == 0 || random_chance(random, 10))
		return made;
	made = any_route(model)->prefix;
	bits = made.address.family == 4 ? 32 : 128;
	int length = made.length + (int)random_below(random, 9) - 4;
	made.length = (uint8_t)(length < 1 ? 1 : length > (int)bits ? (int)bits : length);
	for (unsigned flips = random_below(random, 4); flips > 0; flips--)
		flip(&made.address, made.length - 1 - random_below(random, made.length < 4 ? made.length : 4));
	return made;
}

static void check_lookup(struct model *model, const struct ip_address *address)
{
	struct network_route *longest = NULL;
	unsigned with_it = 0;
	for (size_t i = 0; i < model->count; i++) {
		struct network_route *route = model->routes[i];
		if (!ip_prefix_contains(&route->prefix, address))
			continue;
		with_it++;
		if (longest == NULL || route->prefix.length > longest->prefix.length)
			longest = route;
	}
	cr_assert(find(address) == longest);
	model->nothing += with_it == 0;
	model->one += with_it == 1;
	model->nested += with_it > 1;
}

/* An address at the edge of a network that is there, or anywhere in it. */
static void check_near(struct model *model, struct ip_prefix near)
{
	unsigned bits = near.address.family == 4 ? 32 : 128;
	for (unsigned bit = near.length; bit < bits && random_chance(&model->random, 95); bit++) {
		if (random_chance(&model->random, 50))
			flip(&near.address, bit);
	}
	check_lookup(model, &near.address);
	flip(&near.address, near.length - 1u);
	check_lookup(model, &near.address);
	flip(&near.address, random_below(&model->random, bits));
	check_lookup(model, &near.address);
}

static void model_add(struct model *model)
{
	struct ip_prefix made = random_prefix(model);
	struct ip_prefix network = ip_prefix_network(&made);
	bool there = false;
	for (size_t i = 0; i < model->count; i++)
		there |= model->routes[i]->prefix.length == network.length &&
			 ip_address_equal(&model->routes[i]->prefix.address, &network.address);
	struct network_route *route;
	int code = networks_add(&table, &made, NULL, &route, NULL);
	cr_assert_eq(code, there ? -EEXIST : 0);
	model->refused += there;
	if (!there)
		model->routes[model->count++] = route;
	check_near(model, network);
}

static void model_remove(struct model *model)
{
	size_t index = random_below(&model->random, (uint32_t)model->count);
	struct ip_prefix gone = model->routes[index]->prefix;
	networks_remove(&table, model->routes[index]);
	model->routes[index] = model->routes[--model->count];
	check_near(model, gone);
}

Test(networks, finds_what_a_linear_scan_finds)
{
	struct model model = {.random.state = 1};
	for (unsigned step = 0; step < MODEL_STEPS; step++) {
		/* it grows and shrinks in turns */
		bool grow = random_chance(&model.random, step / 1000 % 2 == 0 ? 70 : 40);
		if (model.count == 0 || (grow && model.count < MODEL_MAX))
			model_add(&model);
		else
			model_remove(&model);
		if (model.count > 0)
			check_near(&model, any_route(&model)->prefix);
		rcu_quiescent();
	}
	while (model.count > 0) {
		model_remove(&model);
		rcu_quiescent();
	}
	cr_assert(is_empty());
	cr_assert(model.nothing > 5000 && model.one > 5000 && model.nested > 5000 && model.refused > 100,
		  "%u %u %u %u: the cases were there", model.nothing, model.one, model.nested, model.refused);
}

enum { MANY = 30000 };

static struct ip_prefix numbered(unsigned number)
{
	struct ip_prefix made = {.address.family = number % 2 == 0 ? 4 : 6, .length = number % 2 == 0 ? 24 : 77};
	store_be32(made.address.bytes + (number % 2 == 0 ? 0 : 6), number / 2 << 8 | 1u << 30);
	return ip_prefix_network(&made);
}

Test(networks, many_come_and_go)
{
	static struct network_route *routes[MANY];
	static unsigned order[MANY];
	struct random random = {.state = 2};
	for (unsigned i = 0; i < MANY; i++) {
		struct ip_prefix network = numbered(i);
		cr_assert(networks_add(&table, &network, NULL, &routes[i], NULL) == 0, "%u", i);
		unsigned other = random_below(&random, i + 1);
		order[i] = order[other];
		order[other] = i;
	}
	for (unsigned gone = 0; gone < MANY; gone++) {
		struct ip_prefix first = numbered(order[gone]), last = numbered(order[MANY - 1]);
		cr_assert(find(&first.address) == routes[order[gone]]);
		cr_assert(find(&last.address) == routes[order[MANY - 1]]);
		networks_remove(&table, routes[order[gone]]);
		cr_assert_null(find(&first.address));
		rcu_quiescent();
	}
	cr_assert(is_empty());
}

Test(networks, one_that_flaps_does_not_fill_the_table)
{
	add("10.0.0.0/8");
	for (unsigned i = 0; i < 10000; i++) {
		networks_remove(&table, add("10.1.0.0/16"));
		cr_assert_str_eq(found("10.1.2.3"), "10.0.0.0/8");
		cr_assert_str_eq(found("11.1.2.3"), "none"); /* ends at an empty slot only */
		cr_assert(table.ipv4.used <= 16, "%zu slots for 2 networks", table.ipv4.used);
		rcu_quiescent();
	}
}
