// SPDX-License-Identifier: Apache-2.0
/* The links of a cluster's gateway: how they lie over each other, and their addresses. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/base/ip.h"

/* Whether what arrives by `inside` comes through `outside` as it is: `inside` is a VLAN, a bridge, a bond or the like
 * over it. Then it meets the hooks of `outside` too. Not so for tunnels (VXLAN, Geneve), in which it is packed. As
 * sysfs says; false where that says nothing. Any thread. */
bool cluster_links_overlap(const char *inside, const char *outside);

/* The addresses of the link, or with NULL all of this machine's, for the caller to free. 0; -1 with errno. */
int cluster_links_addresses(const char *link, struct ip_address **items, size_t *count);
