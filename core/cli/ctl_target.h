// SPDX-License-Identifier: Apache-2.0
/* Whom to ask, and who may be believed to answer. A socket may be made by whoever makes names in its directory, which
 * in /run/shardtun is the gateway's user and group: so the kernel is asked who listens. That is to be root, who runs
 * us, or the User of the gateway's configuration, which is root's own. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "core/base/error.h"

enum { CTL_PATH_MAX = 256 };
#define CTL_GATEWAY_CONFIG "/etc/shardtun/gateway.conf"

struct ctl_target {
	char path[CTL_PATH_MAX]; /* of the socket */
	const char *config;	 /* the gateway's configuration; NULL: none but root and who runs us is believed */
	bool known;		 /* whose number the configuration's User has, once it was looked up */
	bool has_user;
	uid_t user;
};

/* -ENAMETOOLONG, or 0. `config` lives as long as the target. */
int ctl_target_set(struct ctl_target *target, const char *path, const char *config, struct error *error);

/* Before connecting: that the path itself leads where root, or who runs us, or the daemon wants, not elsewhere by
 * somebody else's symbolic link. 0 or a negative errno; what is not there is for connect(2) to tell. */
int ctl_target_check_path(const struct ctl_target *target, struct error *error);

/* The connected socket's other end. 0, or -EPERM. May read the configuration. */
int ctl_target_check_peer(struct ctl_target *target, int fd, struct error *error);
