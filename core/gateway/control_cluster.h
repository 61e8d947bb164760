// SPDX-License-Identifier: Apache-2.0
/* The control commands of a gateway in a cluster, most of them shardtun-agent's: cluster, cluster-own, cluster-release,
 * cluster-map, cluster-map-part, cluster-peers.
 * Handlers as core/control/control.h has them; the context is the daemon. Control thread. */
#pragma once

#include "core/control/control.h"

/* Which blocks are served, until when, and how many sessions they have. */
json_t *gateway_control_cluster(void *context, char *const *words, size_t count, struct error *error);

/* UNTIL_NS B[,B]...: exactly these blocks until then, on CLOCK_BOOTTIME; "-": none. Answers what is served now, which
 * process this is, and what its pool can give out. */
json_t *gateway_control_cluster_own(void *context, char *const *words, size_t count, struct error *error);

/* B: not served any more; answers when nothing more of it leaves. */
json_t *gateway_control_cluster_release(void *context, char *const *words, size_t count, struct error *error);

/* BLOCK=ADDRESS[:PORT],...: the other gateways' blocks, as core/gateway/cluster_map.h has them; "-": none. Answers how
 * many. */
json_t *gateway_control_cluster_map(void *context, char *const *words, size_t count, struct error *error);

/* SERIAL NUMBER/COUNT TEXT: one of several parts of such a text, which is cut at commas. */
json_t *gateway_control_cluster_map_part(void *context, char *const *words, size_t count, struct error *error);

/* FILE: peers, as core/gateway/cluster_peers.h has them. */
json_t *gateway_control_cluster_peers(void *context, char *const *words, size_t count, struct error *error);

/* The answer to a release. */
void gateway_control_cluster_released(struct control *control, struct control_ticket ticket, unsigned block);
