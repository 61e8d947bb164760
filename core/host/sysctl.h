// SPDX-License-Identifier: Apache-2.0
/* The kernel's settings under /proc/sys. Names have slashes ("net/ipv4/ip_forward"). Any thread. */
#pragma once

#include <stddef.h>

enum { SYSCTL_TEXT = 64 };

/* The text of a setting, cut to SYSCTL_TEXT - 1 bytes; "" when it cannot be read. Returns `text`. */
const char *sysctl_read(const char *name, char text[SYSCTL_TEXT]);

/* The number at its start; -1: there is none. */
long sysctl_number(const char *name);

/* 0 or a negative errno. */
int sysctl_write(const char *name, const char *text);

/* Switches IPv6 on for one interface: where it is off for new ones (net.ipv6.conf.default.disable_ipv6, as in
 * Docker's containers), the kernel refuses addresses and routes. 0 when it is on; -EOPNOTSUPP when this kernel runs
 * without IPv6; another negative errno when it is off and stays so (-EROFS, -EACCES). Needs CAP_NET_ADMIN to change
 * anything. */
int sysctl_enable_ipv6(unsigned ifindex);
