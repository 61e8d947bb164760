// SPDX-License-Identifier: Apache-2.0
/* UDP without a network: struct udp_socket over Unix datagrams, for gateways and clients in one process.
 *
 * A network is a table of addresses and the links that have them. Each message crosses it as one Unix datagram with a
 * small header (source, destination, segment size, ECN), so a train stays a train, as GSO and GRO keep it; a link whose
 * `base.gro` is false gets its datagrams one by one. Hooks let a test play the network. Sending and receiving neither
 * allocate nor lock. The table is changed only while no thread sends. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "workers/steering.h"
#include "workers/udp.h"

struct link;

/* Both run on the sender's thread; NULL does nothing. */
struct link_hooks {
	/* How many of the `count` messages the sender's socket takes (at least 1), or the negative errno of the first.
	 */
	int (*accept)(void *context, struct link *from, const struct udp_message *messages, size_t count);
	/* Sees each message that was taken, and may change the copy it gets: bytes, length, ECN, segment size. Returns
	 * how many times it arrives; 0 loses it. */
	unsigned (*carry)(void *context, struct link *from, struct udp_message *message);
	void *context;
};

enum { NETWORK_ADDRESSES = 2048 };

struct network_entry {
	struct sockaddr_in6 address;
	struct link *link;
};

struct network {
	struct link_hooks hooks;
	size_t count;
	struct network_entry entries[NETWORK_ADDRESSES];
};

/* Links that share an address: each message goes to the one that the steering names, as in a reuseport group. */
struct link_group {
	const struct steering *steering;
	struct link **members;
};

struct link {
	struct udp_socket base;
	const struct link_group *group; /* of the link that is found at the address; NULL: it is alone */
	struct network *network;
	struct sockaddr_in6 address; /* it sends from here unless the message names a local address */
	uint64_t stamp;		     /* of all that it receives, as the kernel's; 0: none */
	struct sockaddr_un name;
	socklen_t name_length;

	/* The message under way: what the Unix socket did not take yet is sent before anything else. */
	const uint8_t *source; /* the sender's bytes; NULL: nothing is under way */
	struct udp_message carried;
	unsigned copies; /* still to send, the one under way included */
	uint32_t at;	 /* bytes of it already gone */
	uint8_t *scratch;
};

/* The address of a text ("192.0.2.1", "2001:db8::1") and port; IPv4 becomes v4-mapped. Aborts when it is none. */
struct sockaddr_in6 network_address(const char *text, uint16_t port);

/* The socket with this address, or NULL. */
struct link *network_find(const struct network *network, const struct sockaddr_in6 *address);

/* Opens a link that sends from `address`, but is found there only as a member of a group. */
int link_open_member(struct link *link, struct network *network, struct sockaddr_in6 address);

/* Opens a link at `address`, with GSO and GRO. 0 or a negative errno. Closed by udp_close(&link->base). */
int link_open(struct link *link, struct network *network, struct sockaddr_in6 address);

/* The link leaves its address for another, as a client that roams. */
void link_move(struct link *link, struct sockaddr_in6 address);

/* One address more at which it receives. */
void link_add_address(struct link *link, struct sockaddr_in6 address);

/* Loses what waits to be received or is under way: its owner is started anew. */
void link_clear(struct link *link);

/* Puts a message into the link's queue as if it had come from message->endpoint.remote to message->endpoint.local.
 * Passes no hook. False when the queue is full. */
bool link_inject(struct link *to, const struct udp_message *message);
