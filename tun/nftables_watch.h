// SPDX-License-Identifier: Apache-2.0
/* Notifications of the kernel about changes of nftables rules in this network namespace, one for each transaction. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"

/* A descriptor that is readable after a change, to be closed by the caller; or a negative errno (a kernel without
 * nftables too). Needs CAP_NET_ADMIN. */
int nftables_watch_open(struct error *error);

/* Reads all waiting notifications. Whether there was one. */
bool nftables_watch_read(int fd);
