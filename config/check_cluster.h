// SPDX-License-Identifier: Apache-2.0
/* Whether the options of a gateway go with a cluster, if it is in one: a part of config/check.h. */
#pragma once

#include "config/check.h"

/* Whether a text is a node's name, apart from its length: a key in etcd, a label of metrics and a word of requests. */
bool check_cluster_node(const char *node);

/* Wants the gateway's own options and its peers checked. 0, or -EINVAL with "FILE:LINE: Key = offending text: ..." in
 * `error`. */
int check_cluster(const struct gateway_config *config, const struct config_lines *lines, struct error *error);
