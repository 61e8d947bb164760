// SPDX-License-Identifier: Apache-2.0
/* The text of a resolv.conf: what it says, and ours in its place. Pure; anybody may have written what is read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/base/ip.h"

#define RESOLV_CONF_MARK     "# Written by shardtun for " /* the interface follows, and how it is undone */
#define RESOLV_CONF_REPLACED "; what was there before is in "
#define RESOLV_CONF_IN_PLACE "; what was there before follows as comments"

struct resolv_conf_text {
	char *bytes; /* the owner's to free(); NULL: there is none */
	size_t length;
};

struct resolv_conf_wish {
	const char *interface;
	const char *link; /* its name now, which another program may have changed */
	const struct ip_address *servers;
	size_t count;
	bool everything; /* they are asked for all names; else before the ones there are */
};

enum { RESOLV_CONF_SERVERS_MAX = 8 };

/* The name servers that it names, in order. */
struct resolv_conf_servers {
	struct ip_address list[RESOLV_CONF_SERVERS_MAX]; /* family 0: what cannot be read as an address */
	size_t count;
};

void resolv_conf_read(const struct resolv_conf_text *text, struct resolv_conf_servers *servers);

bool resolv_conf_is_loopback(const struct ip_address *server);

/* Whose it is: 1 that interface's of ours, 0 somebody else's, -EEXIST another interface's of ours. */
int resolv_conf_owner(const struct resolv_conf_text *text, const char *interface, struct error *error);

/* Whether what was there before stands in it, as comments. */
bool resolv_conf_is_in_place(const struct resolv_conf_text *text);

/* Takes that out. 0 or -ENOMEM. */
int resolv_conf_former(const struct resolv_conf_text *text, struct resolv_conf_text *former);

/* Ours: with search domains and options of `former`, or all of it, and, `saved` being NULL, `former` as comments;
 * else `saved` says where that is. 0 or -ENOMEM. */
int resolv_conf_write(const struct resolv_conf_wish *wish, const struct resolv_conf_text *former, const char *saved,
		      struct resolv_conf_text *text);
