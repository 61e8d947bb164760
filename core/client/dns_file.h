// SPDX-License-Identifier: Apache-2.0
/* /etc/resolv.conf with our name servers in it, and back. Where it can be renamed over, it is, and what was there keeps
 * its inode (a symbolic link the link itself) under a second name beside it; where it cannot (a bind mount, a directory
 * that is read-only), it is written in place, and what was there follows in it as comments. So a crash at any moment
 * leaves enough to undo it, also after a reboot.
 *
 * What another program writes there while ours is in force becomes what was there before. Control thread. */
#pragma once

#include "core/client/resolv_conf.h"

#define RESOLV_CONF	  "/etc/resolv.conf"
#define RESOLV_CONF_SAVED RESOLV_CONF ".shardtun-saved"

/* The whole of a regular file, links followed; empty where there is none. 0 or a negative errno with `error` set. */
int client_dns_file_read(const char *path, struct resolv_conf_text *text, struct error *error);

/* What is there, or was before ours came. 0 or a negative errno with `error` set. */
int client_dns_file_former(const char *interface, struct resolv_conf_text *former, struct error *error);

/* Whether it is ours, and says exactly what is wished. */
bool client_dns_file_is_set(const struct resolv_conf_wish *wish);

/* Makes it so. 0 or a negative errno with `error` set, and all is as it was. */
int client_dns_file_set(const struct resolv_conf_wish *wish, struct error *error);

/* Undoes it, if it is ours. 0 or a negative errno with `error` set. */
int client_dns_file_restore(const char *interface, struct error *error);
