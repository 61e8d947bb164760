// SPDX-License-Identifier: Apache-2.0
/* Whether a client accepts the addresses of a WELCOME. The gateway is authentic, but may be compromised: an address
 * outside AllowedIPs, 9.9.9.9 for instance, would make the client receive what is meant for another host. Any thread.
 */
#pragma once

#include <netinet/in.h>

#include "core/base/ip_set.h"
#include "core/protocol/wire.h"

enum client_refusal_reason {
	CLIENT_OFFER_FINE,
	CLIENT_OFFER_OUTSIDE,  /* the address is not in AllowedIPs */
	CLIENT_OFFER_UNFIT,    /* no host has such an address: loopback, multicast */
	CLIENT_OFFER_ENDPOINT, /* it is the gateway's outer one: no packet would leave for it any more */
	CLIENT_OFFER_NOTHING,  /* no address of a family that AllowedIPs have */
};

struct client_refusal {
	enum client_refusal_reason reason;
	struct ip_address address;
};

struct client_offer_limits {
	const struct ip_set *allowed;
	const struct sockaddr_in6 *gateway; /* where it is reached */
	uint16_t mtu;			    /* the client's wish, and the most that it takes */
};

/* Takes off what is of no use: addresses of a family that AllowedIPs do not have; and MTU beyond the wish. Returns
 * whether the rest is to be taken; if not, `refusal` says why. */
bool client_offer_check(struct wire_welcome *welcome, const struct client_offer_limits *limits,
			struct client_refusal *refusal);

/* "the gateway gives us ...", and what to do. Returns `text`. */
enum { CLIENT_REFUSAL_TEXT = 192 };
const char *client_refusal_text(const struct client_refusal *refusal, char text[CLIENT_REFUSAL_TEXT]);
