// SPDX-License-Identifier: Apache-2.0
/* Puts our name servers into /etc/resolv.conf, and restores it. The file is replaced by rename(2), and the old one, or
 * the symbolic link that was there, gets a second name beside it. Where rename(2) fails (a bind mount, a read-only
 * directory) it is written in place, with the old text in it as comments. So a crash at any moment leaves enough to
 * restore it, also after a reboot.
 *
 * What another program writes there while ours is in force becomes the file to restore. Control thread. */
#pragma once

#include "core/client/resolv_conf.h"

#define RESOLV_CONF	  "/etc/resolv.conf"
#define RESOLV_CONF_SAVED RESOLV_CONF ".shardtun-saved"

/* Reads a whole regular file; follows links. Empty if there is none. 0 or a negative errno with `error` set. */
int dns_file_read(const char *path, struct resolv_conf_text *text, struct error *error);

/* The text without ours: of the file, or of the one that it replaced. 0 or a negative errno with `error` set. */
int dns_file_former(const char *interface, struct resolv_conf_text *former, struct error *error);

/* Whether the file is ours, and says exactly what `wish` does. */
bool dns_file_is_set(const struct resolv_conf_wish *wish);

/* Sets the servers. 0, or a negative errno with `error` set and nothing changed. */
int dns_file_set(const struct resolv_conf_wish *wish, struct error *error);

/* Restores the old file, if this one is ours. 0 or a negative errno with `error` set. */
int dns_file_restore(const char *interface, struct error *error);
