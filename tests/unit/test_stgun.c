// SPDX-License-Identifier: Apache-2.0
/* The parts of the load generator that need no gateway. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "perf/stgun/keys.h"
#include "perf/stgun/mix.h"
#include "perf/stgun/options.h"
#include "perf/stgun/packet.h"
#include "perf/stgun/rate.h"
#include "perf/stgun/result.h"
#include "perf/stgun/search.h"
#include "tun/inner.h"

/* --- sizes -------------------------------------------------------------------------------------------------------- */

static size_t times(const struct mix *mix, uint16_t size, size_t from, size_t to)
{
	size_t count = 0;
	for (size_t i = from; i < to; i++)
		count += mix_at(mix, i) == size;
	return count;
}

Test(stgun, a_mix_has_the_shares_that_were_asked_for)
{
	struct mix mix;
	cr_assert(mix_parse("imix", &mix, NULL) == 0);
	cr_assert(times(&mix, 64, 0, 1200) == 700 && times(&mix, 576, 0, 1200) == 400 &&
		  times(&mix, 1400, 0, 1200) == 100);
	cr_assert_float_eq(mix.mean, (7 * 64 + 4 * 576 + 1400) / 12.0, 1e-9);
	cr_assert(mix.least == 64 && mix.most == 1400);
	/* Spread, not one size after the other. */
	for (size_t i = 0; i < 12; i += 4)
		cr_assert(times(&mix, 64, i, i + 4) >= 2 && times(&mix, 576, i, i + 4) >= 1);

	cr_assert(mix_parse("1400", &mix, NULL) == 0);
	cr_assert(mix.count == 1 && mix.order[0] == 1400);
}

Test(stgun, a_mix_that_cannot_be_sent_is_refused)
{
	static const char *const wrong[] = {"",	     "x",      "55",	    "65001",	   "-64",
					    "64:0",  "64:",    "64:7,",	    "64,,64",	   "64 1400",
					    "64:-1", "64:129", "64:128,65", "64:7;1400:1", "1,2,3"};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct mix mix;
		struct error error = {0};
		cr_assert(mix_parse(wrong[i], &mix, &error) == -EINVAL, "%s", wrong[i]);
		cr_assert(error.text[0] != '\0');
	}
}

/* --- rates -------------------------------------------------------------------------------------------------------- */

Test(stgun, rates_are_packets_or_bits)
{
	struct rate rate;
	cr_assert(rate_parse("250k", &rate, NULL) == 0 && rate.per_second == 250e3 && !rate.bits);
	cr_assert(rate_parse("1.5Mpps", &rate, NULL) == 0 && rate.per_second == 1.5e6 && !rate.bits);
	cr_assert(rate_parse("10Gbit", &rate, NULL) == 0 && rate.per_second == 10e9 && rate.bits);
	cr_assert_float_eq(rate_packets(&rate, 1250), 1e6, 1e-6);
	cr_assert(rate_parse("max", &rate, NULL) == 0 && rate.per_second == 0);
	static const char *const wrong[] = {"", "0", "-1", "k", "1x", "1kk", "10Gb", "nan", "inf", "1e30", "max1"};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		cr_assert(rate_parse(wrong[i], &rate, NULL) == -EINVAL, "%s", wrong[i]);
}

Test(stgun, an_open_loop_sends_each_packet_at_its_time)
{
	struct pacer pacer = {.start = 1000, .end = 2000, .interval = 100};
	cr_assert(pacer_due(&pacer, 999, 64) == 0);
	cr_assert(pacer_due(&pacer, 1000, 64) == 1);
	pacer.issued = 1;
	cr_assert(pacer_due(&pacer, 1099, 64) == 0);
	/* Late: all that is due, each meant for its own time. */
	cr_assert(pacer_due(&pacer, 1350, 64) == 3);
	cr_assert(pacer_due(&pacer, 1350, 2) == 2);
	cr_assert(pacer_time(&pacer, 1, 1350) == 1100);
	cr_assert(pacer_time(&pacer, 3, 1350) == 1300);
	/* And no more than was offered, however late. */
	cr_assert(pacer_offered(&pacer) == 10);
	cr_assert(pacer_due(&pacer, 1u << 30, 64) == 9);
	pacer.issued = 10;
	cr_assert(pacer_due(&pacer, 1u << 30, 64) == 0);

	struct pacer endless = {.start = 1000, .end = UINT64_MAX, .interval = 1e-4};
	cr_assert(pacer_offered(&endless) == UINT64_MAX);
	cr_assert(pacer_due(&endless, 2000, 64) == 64);
}

Test(stgun, the_rate_is_kept_over_a_long_time)
{
	struct pacer pacer = {.start = 7, .end = 7 + 3000 * NS_PER_S, .interval = 1e9 / 3e6};
	uint64_t now = pacer.start;
	while (now < pacer.end + NS_PER_S) {
		pacer.issued += pacer_due(&pacer, now, UINT64_MAX);
		now += 977 * NS_PER_MS;
	}
	cr_assert(pacer.issued == pacer_offered(&pacer));
	cr_assert(pacer.issued >= 9000000000 - 1 && pacer.issued <= 9000000000 + 1, "%lu", pacer.issued);
}

Test(stgun, without_a_rate_everything_is_due_until_the_end)
{
	struct pacer pacer = {.start = 1000, .end = 2000};
	cr_assert(pacer_due(&pacer, 999, 64) == 0);
	cr_assert(pacer_due(&pacer, 1000, 64) == 64);
	cr_assert(pacer_due(&pacer, 2000, 64) == 0);
	cr_assert(pacer_time(&pacer, 12345, 1500) == 1500);
}

/* --- the search --------------------------------------------------------------------------------------------------- */

/* Against something that loses what is above `capacity`; each `flaky`th step fails for no reason. Returns the rate. */
static double search_for(double first, double capacity, double generator, int flaky, struct search *search)
{
	int steps = 0;
	for (search_init(search, first, 0.01); !search->done; steps++) {
		cr_assert(steps < 100);
		bool reached = search->rate <= generator;
		double sent = reached ? search->rate : generator;
		double lost = sent > capacity ? (sent - capacity) / sent : 0;
		if (flaky != 0 && steps % flaky == 0)
			lost = 0.5;
		search_step(search, reached, lost);
	}
	return search->good;
}

Test(stgun, the_search_finds_the_highest_rate_with_little_loss)
{
	static const double firsts[] = {1, 1000, 99000, 100000, 101000, 7e6};
	struct search search;
	for (size_t i = 0; i < ARRAY_SIZE(firsts); i++) {
		double found = search_for(firsts[i], 100000, 1e12, 0, &search);
		cr_assert(found > 100000 / 1.03 && found <= 100000 / 0.99, "from %g: %g", firsts[i], found);
		cr_assert(!search.limited);
	}
}

Test(stgun, one_step_that_fails_for_no_reason_is_forgiven)
{
	struct search search;
	double found = search_for(1000, 100000, 1e12, 2, &search);
	cr_assert(found > 100000 / 1.03 && found <= 100000 / 0.99, "%g", found);
}

Test(stgun, what_the_generator_does_not_reach_is_its_own_limit)
{
	struct search search;
	double found = search_for(1000, 1e9, 50000, 0, &search);
	cr_assert(found > 50000 / 1.03 && found <= 50000, "%g", found);
	cr_assert(search.limited);
}

Test(stgun, a_search_for_nothing_ends)
{
	struct search search;
	cr_assert(search_for(1000, 0, 1e12, 0, &search) == 0);
}

/* --- verdicts ----------------------------------------------------------------------------------------------------- */

Test(stgun, a_step_says_whose_limit_it_met)
{
	static const struct {
		struct stgun_step step;
		enum stgun_limit limit;
	} cases[] = {
		{{.rate = 1000, .offered = 1000, .sent = 1000, .known = true, .received = 1000}, LIMIT_NONE},
		{{.rate = 1000, .offered = 1000, .sent = 995, .known = true, .received = 995}, LIMIT_NONE},
		{{.rate = 1000, .offered = 1000, .sent = 900, .known = true, .received = 900}, LIMIT_GENERATOR},
		/* Lost or not, it did not send what it should. */
		{{.rate = 1000, .offered = 1000, .sent = 900, .known = true, .lost = 800}, LIMIT_GENERATOR},
		{{.rate = 1000, .offered = 1000, .sent = 1000, .known = true, .lost = 100}, LIMIT_NONE},
		{{.rate = 1000, .offered = 1000, .sent = 1000, .known = true, .lost = 100, .reflector_lost = 95},
		 LIMIT_REFLECTOR},
		{{.rate = 1000, .offered = 1000, .sent = 1000, .known = true, .lost = 100, .reflector_lost = 20},
		 LIMIT_NONE},
		/* As fast as it goes. */
		{{.offered = 1000, .sent = 1000, .known = true, .received = 1000}, LIMIT_GENERATOR},
		{{.offered = 1000, .sent = 1000, .known = true, .lost = 100}, LIMIT_NONE},
		{{.offered = 1000, .sent = 1000, .windowed = true, .known = true, .received = 1000}, LIMIT_NONE},
		{{.offered = 1000, .sent = 1000}, LIMIT_NONE},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stgun_step step = cases[i].step;
		stgun_step_judge(&step, 0.01);
		cr_assert(step.limit == cases[i].limit, "case %zu", i);
	}
}

/* --- packets ------------------------------------------------------------------------------------------------------ */

static void check_packet(struct stgun_packet_form *form, size_t size, uint32_t number, size_t extra)
{
	static const uint8_t source[16] = {10, 8, 1, 2, 5};
	struct stgun_packet_stamp stamp = {.kind = PACKET_DATA,
					   .answers = 3,
					   .size = 1400,
					   .run = 0xdeadbeef,
					   .session = 77,
					   .time = 0x123456789abcdef0,
					   .number = number};
	struct stgun_packet_stamp read;
	struct inner inner;
	stgun_packet_finish(form, size, source, 1234, &stamp, extra);
	cr_assert(inner_parse(&inner, form->bytes, size));
	cr_assert(inner.protocol == IPPROTO_UDP && inner.version == form->version);
	cr_assert(inner_checksum_ok(&inner));
	cr_assert(memcmp(inner_source_bytes(&inner), source, form->version == 4 ? 4 : 16) == 0);
	cr_assert(stgun_packet_stamp_read(form->bytes + stgun_packet_headers(form->version),
					  size - stgun_packet_headers(form->version), &read));
	cr_assert(read.kind == stamp.kind && read.answers == stamp.answers && read.size == stamp.size);
	cr_assert(read.run == stamp.run && read.session == stamp.session && read.time == stamp.time);
	cr_assert(read.number == number);
}

Test(stgun, packets_have_right_checksums_and_what_was_put_in)
{
	struct stgun_packet_form *form = malloc(sizeof *form);
	static const char *const targets[] = {"10.8.0.1", "fd00:8::1"};
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		struct ip_address to;
		cr_assert(ip_address_parse(targets[i], &to));
		stgun_packet_form_init(form, &to, 5556);
		size_t least = stgun_packet_size_least(to.family);
		cr_assert(least <= 64 || to.family == 6);
		for (uint32_t number = 0; number < 3000; number++)
			check_packet(form, least + number * 7 % (1400 - least), number * 23, 0);
		check_packet(form, PACKET_SIZE_MAX, 1, 0);
		memset(form->bytes + least, 0xab, 24);
		check_packet(form, least + 24, 1, 24);
	}
	free(form);
}

Test(stgun, what_is_no_stamp_is_none)
{
	uint8_t payload[PACKET_TOLD_SIZE] = {0};
	struct stgun_packet_stamp stamp = {.kind = PACKET_ASK}, read;
	cr_assert(!stgun_packet_stamp_read(payload, sizeof payload, &read));
	stgun_packet_stamp_write(payload, &stamp);
	cr_assert(stgun_packet_stamp_read(payload, PACKET_STAMP_SIZE, &read));
	cr_assert(!stgun_packet_stamp_read(payload, PACKET_STAMP_SIZE - 1, &read));
	payload[4] = PACKET_TOLD;
	cr_assert(!stgun_packet_stamp_read(payload, PACKET_TOLD_SIZE - 1, &read));
	payload[4] = PACKET_TOLD + 1;
	cr_assert(!stgun_packet_stamp_read(payload, sizeof payload, &read));
}

/* --- keys and the command line ------------------------------------------------------------------------------------ */

static int read_line(const char *line, struct stgun_options *options, struct error *error)
{
	static char text[512];
	static char name[] = "stgun";
	char *argv[32] = {name};
	int argc = 1;
	cr_assert(keys_init(NULL) == 0);
	(void)snprintf(text, sizeof text, "%s", line);
	for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = word;
	return stgun_options_read(argc, argv, options, error);
}

#define LOAD "load --gateway 192.0.2.1:5555 --gateway-key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= "

Test(stgun, wireguard_clients_need_what_a_welcome_would_say)
{
	static const char *const wrong[] = {
		LOAD "--protocol wireguard --to 10.8.0.1",
		LOAD "--protocol wireguard --address 10.8.0.2",
		LOAD "--protocol wireguard --address 10.8.0.2 --to fd00:8::1",
		LOAD "--protocol wireguard --address 10.8.0.2 --to 10.8.0.1 --cipher AES-256-GCM",
		LOAD "--address 10.8.0.2",
		LOAD "--protocol openvpn",
		"keys 3 --protocol wireguard",
		"keys 3 --address 10.8.0.2",
	};
	struct stgun_options options;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct error error = {0};
		cr_assert(read_line(wrong[i], &options, &error) == -EINVAL, "%s", wrong[i]);
		cr_assert(error.text[0] != '\0');
	}
	cr_assert(read_line(LOAD "--protocol wireguard --address 10.8.0.2 --to 10.8.0.1", &options, NULL) == 0);
	cr_assert(options.wireguard && options.address.family == 4);
	cr_assert(read_line("keys 3 --protocol wireguard --address fd00:8::2", &options, NULL) == 0);
}

Test(stgun, addresses_follow_from_the_first)
{
	char text[IP_TEXT_MAX];
	struct ip_address first, address;
	cr_assert(ip_address_parse("10.8.0.2", &first));
	address = seed_address(&first, 1000);
	cr_assert_str_eq(ip_address_format(&address, text), "10.8.3.234");
	cr_assert(ip_address_parse("fd00:8::ffff", &first));
	address = seed_address(&first, 2);
	cr_assert_str_eq(ip_address_format(&address, text), "fd00:8::1:1");
}

Test(stgun, keys_follow_from_seed_and_number)
{
	struct seed a, b;
	uint8_t one[KEY_SIZE], same[KEY_SIZE], next[KEY_SIZE], other[KEY_SIZE];
	cr_assert(keys_init(NULL) == 0);
	seed_init(&a, "a");
	seed_init(&b, "b");
	seed_private_key(&a, 1, one);
	seed_private_key(&a, 1, same);
	seed_private_key(&a, 2, next);
	seed_private_key(&b, 1, other);
	cr_assert(memcmp(one, same, KEY_SIZE) == 0);
	cr_assert(memcmp(one, next, KEY_SIZE) != 0 && memcmp(one, other, KEY_SIZE) != 0);
}

Test(stgun, options_have_their_defaults)
{
	char line[] = "stgun load --gateway [2001:db8::1]:5555 --gateway-key "
		      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= --to 10.8.0.1";
	char *argv[16] = {NULL};
	int argc = 0;
	for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = word;
	struct stgun_options options;
	struct error error = {0};
	cr_assert(keys_init(NULL) == 0);
	cr_assert(stgun_options_read(argc, argv, &options, &error) == 0, "%s", error.text);
	cr_assert(strcmp(argv[1], "load") == 0, "the words keep their order");
	cr_assert(options.command == STGUN_LOAD && options.sessions == 1 && options.threads == 1);
	cr_assert(options.duration == 10 * NS_PER_S && options.rate.per_second == 0 && options.gro);
	cr_assert(options.direction == STGUN_UP && options.mix.most == 1400 && options.train == STGUN_TRAIN_MAX);
	cr_assert(options.hold == 0 && options.every == 25 * NS_PER_S && options.renew == 120 * NS_PER_S &&
		  !options.say_data && !options.random);
	cr_assert(options.to.family == 4 && options.to_port == PACKET_PORT);
	cr_assert(ntohs(options.gateway.sin6_port) == 5555);
}
