// SPDX-License-Identifier: Apache-2.0
/* Firewall rules over libnftables, in tables that are ours alone. Control thread only; needs CAP_NET_ADMIN. */
#pragma once

#include "core/base/error.h"

/* Runs commands in nft's language (nft(8)) as one transaction: all of them, or none and a negative errno with `error`
 * set to "SUBJECT: what the kernel said". `subject` says whose rules they are ("Masquerade"). */
int nftables_run(const char *subject, const char *commands, struct error *error);

/* Removes table `name` of family "inet", "ip" or "ip6"; that there is none is no error, nor is a kernel without
 * nftables. */
int nftables_delete_table(const char *subject, const char *family, const char *name, struct error *error);
