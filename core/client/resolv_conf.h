// SPDX-License-Identifier: Apache-2.0
/* Parses and writes the text of a resolv.conf. No system calls. The text that is read is not trusted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/base/ip.h"

#define RESOLV_CONF_MARK     "# Written by shardtun for " /* then the interface, and one of: */
#define RESOLV_CONF_REPLACED "; what was there before is in "
#define RESOLV_CONF_IN_PLACE "; what was there before follows as comments"

struct resolv_conf_text {
	char *bytes; /* to free(); NULL: there is no file */
	size_t length;
};

struct resolv_conf_wish {
	const char *interface;
	const char *link; /* its current name: another program may have renamed it */
	const struct ip_address *servers;
	size_t count;
	bool everything; /* use only these servers; else add them before those that are there */
};

enum { RESOLV_CONF_SERVERS_MAX = 8 };

/* The name servers that it names, in order. */
struct resolv_conf_servers {
	struct ip_address list[RESOLV_CONF_SERVERS_MAX]; /* family 0: not an address */
	size_t count;
};

void resolv_conf_read(const struct resolv_conf_text *text, struct resolv_conf_servers *servers);

bool resolv_conf_is_loopback(const struct ip_address *server);

/* Which program wrote it: 1 the client of this interface, 0 another program, -EEXIST the client of another interface.
 */
int resolv_conf_owner(const struct resolv_conf_text *text, const char *interface, struct error *error);

/* Whether it has the former text in it, as comments. */
bool resolv_conf_is_in_place(const struct resolv_conf_text *text);

/* Extracts the former text. 0 or -ENOMEM. */
int resolv_conf_former(const struct resolv_conf_text *text, struct resolv_conf_text *former);

/* Writes ours: the servers, and of `former` the search domains and options, or, without wish->everything, all of it.
 * `saved` is the path of the former file; NULL: the former text is added as comments. 0 or -ENOMEM. */
int resolv_conf_write(const struct resolv_conf_wish *wish, const struct resolv_conf_text *former, const char *saved,
		      struct resolv_conf_text *text);
