// SPDX-License-Identifier: Apache-2.0
/* The daemon to ask, and whether its answers can be trusted. The gateway's user and group can create sockets in
 * /run/shardtun, so the kernel is asked which user listens. Trusted are root, the user of this process, and the User of
 * the gateway's configuration, a file that only root can write; of an agent, the user that its unit runs it as. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "core/base/error.h"

enum { CTL_PATH_MAX = 256 };
#define CTL_GATEWAY_CONFIG "/etc/shardtun/gateway.conf"

struct ctl_target {
	char path[CTL_PATH_MAX]; /* of the socket */
	const char *config;	 /* the gateway's configuration; NULL: trust only root and the user of this process, */
	const char *user_name;	 /* and this one; NULL: no other */
	bool known;		 /* the user was looked up */
	bool has_user;		 /* it is valid: */
	uid_t user;
};

/* 0 or -ENAMETOOLONG. `config` must outlive the target. */
int ctl_target_set(struct ctl_target *target, const char *path, const char *config, struct error *error);

/* Before connecting: refuses symbolic links of users that are not trusted. 0 or a negative errno; 0 also when there is
 * nothing at the path, which connect(2) reports. */
int ctl_target_check_path(const struct ctl_target *target, struct error *error);

/* After connecting: checks the listener's user. 0, -EPERM, or an error of reading the configuration. */
int ctl_target_check_peer(struct ctl_target *target, int fd, struct error *error);
