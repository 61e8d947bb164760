// SPDX-License-Identifier: Apache-2.0
/* Told by the kernel when links, addresses or routes of this network namespace change. Needs no rights. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"

/* A descriptor that is readable when something changed, for the caller to close; or a negative errno. */
int netlink_watch_open(struct error *error);

/* Reads all that waits there. Whether anything of it was not about the interface `ifindex` and no route of table
 * `table`: the caller's own doing. When the kernel had to drop some, it was. */
bool netlink_watch_read(int fd, unsigned ifindex, uint32_t table);
