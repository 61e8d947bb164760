// SPDX-License-Identifier: Apache-2.0
/* The text of a resolv.conf: read as libc reads it, and ours in its place and back. */
#include "core/client/resolv_conf.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(resolv_conf, .timeout = 60);

static struct resolv_conf_text as_text(const char *text)
{
	return (struct resolv_conf_text){.bytes = (char *)(uintptr_t)text, .length = strlen(text)};
}

static struct ip_address address(const char *text)
{
	struct ip_address parsed;
	cr_assert(ip_address_parse(text, &parsed), "%s", text);
	return parsed;
}

Test(resolv_conf, names_servers_as_libc_reads_it)
{
	static const struct {
		const char *text, *servers[4];
	} cases[] = {
		{"", {NULL}},
		{"nameserver 192.0.2.1\n", {"192.0.2.1"}},
		{"nameserver 192.0.2.1", {"192.0.2.1"}},
		{"# nameserver 192.0.2.1\n;nameserver 192.0.2.2\nnameserver\t2001:db8::1 \n", {"2001:db8::1"}},
		{" nameserver 192.0.2.1\nnameserverx 192.0.2.2\nnameserver\n", {NULL}},
		{"search a\nnameserver   192.0.2.1 # one\nnameserver 192.0.2.2\r\n", {"192.0.2.1", "192.0.2.2"}},
		{"nameserver fe80::1%eth0\nnameserver 192.0.2.2\n", {"", "192.0.2.2"}},
		{"nameserver 1111111111111111111111111111111111111111111111111111111111111111111111111\n", {""}},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct resolv_conf_servers servers;
		const struct resolv_conf_text text = as_text(cases[i].text);
		resolv_conf_read(&text, &servers);
		size_t count = 0;
		for (; count < 4 && cases[i].servers[count] != NULL; count++) {
			cr_assert_gt(servers.count, count, "%zu", i);
			const struct ip_address none = {0}, *is = &servers.list[count];
			struct ip_address wanted = cases[i].servers[count][0] != '\0' ? address(cases[i].servers[count])
										      : none;
			cr_assert(ip_address_equal(is, &wanted), "%zu: server %zu", i, count);
		}
		cr_assert_eq(servers.count, count, "%zu", i);
	}
}

static const char *const formers[] = {
	"",
	"\n",
	"nameserver 192.0.2.53\nsearch corp.test\noptions ndots:2\n",
	"nameserver 192.0.2.53",
	"\n\nnameserver 192.0.2.53\n\n# no newline at the end",
	"#former: nobody's\n#former, no newline: nobody's",
	"domain a\r\nsortlist 192.0.2.0\r\n\r\n",
};

static struct resolv_conf_text written(const char *former, bool everything, const char *saved)
{
	const struct ip_address servers[] = {address("10.8.0.1"), address("fd00:8::1")};
	const struct resolv_conf_wish wish = {
		.interface = "shardtun0", .servers = servers, .count = 2, .everything = everything};
	const struct resolv_conf_text text = as_text(former);
	struct resolv_conf_text ours;
	cr_assert_eq(resolv_conf_write(&wish, &text, saved, &ours), 0);
	return ours;
}

Test(resolv_conf, of_ours_gives_back_every_byte_that_was_there)
{
	for (size_t i = 0; i < ARRAY_SIZE(formers); i++) {
		for (unsigned everything = 0; everything < 2; everything++) {
			struct resolv_conf_text ours = written(formers[i], everything, NULL), former;
			cr_assert(resolv_conf_is_in_place(&ours));
			cr_assert_eq(resolv_conf_owner(&ours, "shardtun0", NULL), 1);
			cr_assert_eq(resolv_conf_former(&ours, &former), 0);
			cr_assert_eq(former.length, strlen(formers[i]), "%zu: %zu bytes", i, former.length);
			cr_assert_arr_eq(former.bytes, formers[i], former.length, "%zu", i);
			free(former.bytes);
			free(ours.bytes);
		}
	}
}

Test(resolv_conf, of_ours_names_ours_first_and_others_only_beside_a_part)
{
	for (size_t i = 0; i < ARRAY_SIZE(formers); i++) {
		for (unsigned way = 0; way < 4; way++) {
			bool everything = (way & 1) != 0;
			struct resolv_conf_text ours = written(formers[i], everything, way < 2 ? "/saved" : NULL);
			const struct resolv_conf_text former = as_text(formers[i]);
			struct resolv_conf_servers servers, before;
			resolv_conf_read(&ours, &servers);
			resolv_conf_read(&former, &before);
			cr_assert_eq(servers.count, 2 + (everything ? 0 : before.count), "%zu", i);
			const struct ip_address first = address("10.8.0.1");
			cr_assert(ip_address_equal(&servers.list[0], &first));
			cr_assert_eq(resolv_conf_is_in_place(&ours), way >= 2);
			free(ours.bytes);
		}
	}
}

Test(resolv_conf, of_ours_keeps_search_domains_and_options)
{
	static const char *const former = "nameserver 192.0.2.53\n# mine\nsearch corp.test\noptions ndots:2\n";
	struct resolv_conf_text ours = written(former, true, "/saved");
	static const char *const expected = "# Written by shardtun for shardtun0; what was there before is in /saved\n"
					    "nameserver 10.8.0.1\nnameserver fd00:8::1\n"
					    "search corp.test\noptions ndots:2\n";
	cr_assert_eq(ours.length, strlen(expected));
	cr_assert_arr_eq(ours.bytes, expected, ours.length);
	free(ours.bytes);
}

Test(resolv_conf, knows_whose_it_is)
{
	struct resolv_conf_text ours = written("", true, "/saved");
	struct error error = {0};
	cr_assert_eq(resolv_conf_owner(&ours, "shardtun0", NULL), 1);
	cr_assert_eq(resolv_conf_owner(&ours, "shardtun", &error), -EEXIST);
	cr_assert_not_null(strstr(error.text, "interface shardtun0 has it"), "%s", error.text);
	cr_assert_eq(resolv_conf_owner(&ours, "shardtun01", NULL), -EEXIST);
	free(ours.bytes);
	static const char *const others[] = {"", "# Written by hand\n",
					     "nameserver 192.0.2.1\n# Written by shardtun for x\n"};
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		const struct resolv_conf_text text = as_text(others[i]);
		cr_assert_eq(resolv_conf_owner(&text, "shardtun0", NULL), 0, "%zu", i);
		cr_assert_not(resolv_conf_is_in_place(&text));
	}
}
