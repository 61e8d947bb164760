// SPDX-License-Identifier: Apache-2.0
#include "workers/client_offer.h"

#include <stdio.h>
#include <string.h>

static bool is_gateway(const struct ip_address *address, const struct sockaddr_in6 *gateway)
{
	const struct in6_addr *outer = &gateway->sin6_addr;
	if (address->family == 4)
		return IN6_IS_ADDR_V4MAPPED(outer) && memcmp(&outer->s6_addr[12], address->bytes, 4) == 0;
	return memcmp(outer->s6_addr, address->bytes, 16) == 0;
}

static enum client_refusal_reason check_address(const struct ip_address *address,
						const struct client_offer_limits *limits)
{
	if (ip_address_unfit(address) != NULL)
		return CLIENT_OFFER_UNFIT;
	if (!ip_set_contains(limits->allowed, address))
		return CLIENT_OFFER_OUTSIDE;
	return is_gateway(address, limits->gateway) ? CLIENT_OFFER_ENDPOINT : CLIENT_OFFER_FINE;
}

static const struct ip_prefix none;

bool client_offer_check(struct wire_welcome *welcome, const struct client_offer_limits *limits,
			struct client_refusal *refusal)
{
	struct ip_prefix *given[] = {&welcome->address4, &welcome->address6};
	size_t wanted[] = {limits->allowed->ipv4.count, limits->allowed->ipv6.count};
	size_t taken = 0;
	*refusal = (struct client_refusal){0};
	if (welcome->mtu > limits->mtu)
		welcome->mtu = limits->mtu;
	for (size_t i = 0; i < ARRAY_SIZE(given) && refusal->reason == CLIENT_OFFER_FINE; i++) {
		if (wanted[i] == 0)
			*given[i] = none;
		if (given[i]->address.family == 0)
			continue;
		refusal->reason = check_address(&given[i]->address, limits);
		refusal->address = given[i]->address;
		taken++;
	}
	if (refusal->reason == CLIENT_OFFER_FINE && taken == 0)
		*refusal = (struct client_refusal){.reason = CLIENT_OFFER_NOTHING};
	return refusal->reason == CLIENT_OFFER_FINE;
}

const char *client_refusal_text(const struct client_refusal *refusal, char text[CLIENT_REFUSAL_TEXT])
{
	char address[IP_TEXT_MAX];
	ip_address_format(&refusal->address, address);
	switch (refusal->reason) {
	case CLIENT_OFFER_FINE:
		text[0] = '\0';
		break;
	case CLIENT_OFFER_OUTSIDE:
		(void)snprintf(text, CLIENT_REFUSAL_TEXT,
			       "the gateway gives us the address %s, which is not in AllowedIPs: not taken; add its "
			       "network there, if it is right",
			       address);
		break;
	case CLIENT_OFFER_UNFIT:
		(void)snprintf(text, CLIENT_REFUSAL_TEXT, "the gateway gives us the address %s, %s: not taken", address,
			       ip_address_unfit(&refusal->address));
		break;
	case CLIENT_OFFER_ENDPOINT:
		(void)snprintf(text, CLIENT_REFUSAL_TEXT,
			       "the gateway gives us the address %s, which is its own outer one: not taken", address);
		break;
	case CLIENT_OFFER_NOTHING:
		(void)snprintf(text, CLIENT_REFUSAL_TEXT,
			       "the gateway gives us no address of a family that AllowedIPs have; add a network of the "
			       "other one");
		break;
	}
	return text;
}
