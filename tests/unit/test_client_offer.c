// SPDX-License-Identifier: Apache-2.0
/* What a client takes of what a gateway gives it. */
#include "workers/client_offer.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>

enum { WISH = 1400 };

struct offer {
	const char *allowed[4];
	const char *address4, *address6; /* NULL: none */
	uint16_t mtu;			 /* 0: WISH */
};

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix result = {0};
	if (text != NULL)
		cr_assert(ip_prefix_parse(text, &result), "%s", text);
	return result;
}

static struct wire_welcome taken;

static enum client_refusal_reason check(const struct offer *offer)
{
	struct ip_prefix allowed[ARRAY_SIZE(offer->allowed)];
	struct ip_set set;
	size_t count = 0;
	for (; count < ARRAY_SIZE(allowed) && offer->allowed[count] != NULL; count++)
		allowed[count] = prefix(offer->allowed[count]);
	cr_assert_eq(ip_set_init(&set, allowed, count), 0);
	struct sockaddr_in6 gateway = {.sin6_family = AF_INET6};
	cr_assert_eq(inet_pton(AF_INET6, "::ffff:192.0.2.1", &gateway.sin6_addr), 1);
	const struct client_offer_limits limits = {.allowed = &set, .gateway = &gateway, .mtu = WISH};
	taken = (struct wire_welcome){.address4 = prefix(offer->address4),
				      .address6 = prefix(offer->address6),
				      .mtu = offer->mtu != 0 ? offer->mtu : WISH};
	struct client_refusal refusal;
	bool fine = client_offer_check(&taken, &limits, &refusal);
	cr_expect_eq(fine, refusal.reason == CLIENT_OFFER_FINE);
	ip_set_deinit(&set);
	return refusal.reason;
}

Test(client_offer, an_address_has_to_be_in_allowed_ips)
{
	static const struct {
		struct offer offer;
		enum client_refusal_reason reason;
	} cases[] = {
		{{{"10.8.0.0/16", "fd00:8::/64"}, "10.8.0.2/16", "fd00:8::2/64", 0}, CLIENT_OFFER_FINE},
		{{{"0.0.0.0/1", "128.0.0.0/1", "::/0"}, "9.9.9.9/24", "fd00:8::2/64", 0}, CLIENT_OFFER_FINE},
		{{{"10.8.0.0/16", "fd00:8::/64"}, "9.9.9.9/24", "fd00:8::2/64", 0}, CLIENT_OFFER_OUTSIDE},
		{{{"10.8.0.0/16", "fd00:8::/64"}, "10.8.0.2/16", "2001:db8::53/64", 0}, CLIENT_OFFER_OUTSIDE},
		{{{"10.8.0.0/16"}, "10.9.0.2/8", NULL, 0}, CLIENT_OFFER_OUTSIDE},
		{{{"0.0.0.0/0"}, "127.0.0.1/8", NULL, 0}, CLIENT_OFFER_UNFIT},
		{{{"0.0.0.0/0"}, "224.0.0.251/8", NULL, 0}, CLIENT_OFFER_UNFIT},
		{{{"0.0.0.0/0"}, "169.254.1.1/16", NULL, 0}, CLIENT_OFFER_UNFIT},
		{{{"::/0"}, NULL, "::1/64", 0}, CLIENT_OFFER_UNFIT},
		{{{"::/0"}, NULL, "fe80::1/64", 0}, CLIENT_OFFER_UNFIT},
		{{{"0.0.0.0/0"}, "192.0.2.1/24", NULL, 0}, CLIENT_OFFER_ENDPOINT},
		{{{"0.0.0.0/0"}, NULL, "fd00:8::2/64", 0}, CLIENT_OFFER_NOTHING},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		cr_expect_eq(check(&cases[i].offer), cases[i].reason, "case %zu", i);
}

Test(client_offer, a_family_that_allowed_ips_do_not_have_is_not_wanted)
{
	const struct offer offer = {{"10.8.0.0/16"}, "10.8.0.2/16", "fd00:8::2/64", 0};
	cr_expect_eq(check(&offer), CLIENT_OFFER_FINE);
	cr_expect_eq(taken.address4.address.family, 4);
	cr_expect_eq(taken.address6.address.family, 0, "an address without routes is of no use");
}

Test(client_offer, the_mtu_is_at_most_the_wish)
{
	struct offer offer = {{"10.8.0.0/16"}, "10.8.0.2/16", NULL, 65000};
	cr_expect_eq(check(&offer), CLIENT_OFFER_FINE);
	cr_expect_eq(taken.mtu, WISH);
	offer.mtu = 1280;
	cr_expect_eq(check(&offer), CLIENT_OFFER_FINE);
	cr_expect_eq(taken.mtu, 1280);
}

Test(client_offer, each_refusal_is_a_line)
{
	char text[CLIENT_REFUSAL_TEXT];
	struct client_refusal refusal = {.reason = CLIENT_OFFER_OUTSIDE, .address = prefix("9.9.9.9").address};
	cr_expect_str_eq(client_refusal_text(&refusal, text),
			 "the gateway gives us the address 9.9.9.9, which is not in AllowedIPs: not taken; add its "
			 "network there, if it is right");
	refusal = (struct client_refusal){.reason = CLIENT_OFFER_UNFIT, .address = prefix("127.0.0.1").address};
	cr_expect_str_eq(client_refusal_text(&refusal, text),
			 "the gateway gives us the address 127.0.0.1, a loopback address: not taken");
	refusal = (struct client_refusal){.reason = CLIENT_OFFER_FINE};
	cr_expect_str_empty(client_refusal_text(&refusal, text));
}
