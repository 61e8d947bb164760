// SPDX-License-Identifier: Apache-2.0
/* The gateway's control commands that admit clients: handlers as of core/control/control.h. */
#pragma once

#include "core/control/control.h"
#include "core/sessions/pool.h"

/* "peer": adds a peer or deletes one, until the next reload; not in a cluster. {"added" or "deleted": its key,
 * "addresses": [those that are held for a WireGuard peer]} */
json_t *gateway_control_peer(void *context, char *const *words, size_t count, struct error *error);

/* {"size", "reserved"}: the indexes that can be given out are below the first and none of the second. NULL: no memory.
 */
json_t *gateway_describe_pool(const struct pool *pool);

/* "cluster-check": whether a peer could be added in this cluster: KEY, and the options of "peer add". {"pool": as
 * above, "psk": its pre-shared key, sealed (core/cluster/sealed_psk.h), "index": of the address, if these are given}.
 * Changes nothing. */
json_t *gateway_control_cluster_check(void *context, char *const *words, size_t count, struct error *error);

/* "cluster-addresses": of a peer, by its KEY, once the agent has passed it on. {"addresses"}; -ENOENT: it is not known
 * here (yet). */
json_t *gateway_control_cluster_addresses(void *context, char *const *words, size_t count, struct error *error);

/* "quota": what a peer has used of its quota starts at 0. {"reset": its key} */
json_t *gateway_control_quota(void *context, char *const *words, size_t count, struct error *error);

/* "identity": what a client's file contains about this gateway. {"public_key", "wireguard_public_key": null with
 * WireGuard = no, "port": on which it listens, "endpoint": where clients find it ("host:port", or null when
 * PublicEndpoint is not set), "networks": [its inner networks], "peers_directory": an absolute path, or null,
 * "cluster_node": its name in a cluster, or null} */
json_t *gateway_control_identity(void *context, char *const *words, size_t count, struct error *error);
