// SPDX-License-Identifier: Apache-2.0
/* Told by the kernel when anybody changed nftables' rules in this network namespace: once for each transaction. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"

/* A descriptor that is readable then, for the caller to close; or a negative errno (a kernel without nftables too).
 * Needs CAP_NET_ADMIN. */
int nftables_watch_open(struct error *error);

/* Reads all that waits there. Whether there was anything. */
bool nftables_watch_read(int fd);
