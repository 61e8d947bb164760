// SPDX-License-Identifier: Apache-2.0
/* shardtunctl peer of a gateway in a cluster: the gateway checks the peer and seals its pre-shared key, its agent
 * writes it into etcd, and the gateway has it again by way of its agent. */
#pragma once

#include "core/cli/ctl_addition.h"

/* Whether the gateway at `target` is in a cluster, as it says. 0, or as ctl_request() when there is no answer; a daemon
 * that refuses is in none. */
int ctl_cluster_find(struct ctl_target *target, bool *in_cluster, struct error *error);

/* Adds the peer of addition->request, and waits until the gateway has it. On 0 the caller owns *result: {"added": its
 * key, "index", "addresses"}. On failure with -EINPROGRESS it is in etcd, and else it is not, as far as is known. */
int ctl_cluster_add(struct addition *addition, json_t **result, struct error *error);

/* Removes it from etcd. */
int ctl_cluster_delete(struct ctl_target *agent, const char *key, json_t **result, struct error *error);

/* What was done, and that all gateways know of it. */
void ctl_cluster_print(FILE *out, json_t *result);
