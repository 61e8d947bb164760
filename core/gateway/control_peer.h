// SPDX-License-Identifier: Apache-2.0
/* The gateway's control commands that admit clients: handlers as of core/control/control.h. */
#pragma once

#include "core/control/control.h"

/* "peer": adds a peer or deletes one, until the next reload. {"added" or "deleted": its key, "addresses": [those that
 * are held for a WireGuard peer]} */
json_t *gateway_control_peer(void *context, char *const *words, size_t count, struct error *error);

/* "quota": what a peer has used of its quota starts at 0. {"reset": its key} */
json_t *gateway_control_quota(void *context, char *const *words, size_t count, struct error *error);

/* "identity": what a client's file contains about this gateway. {"public_key", "wireguard_public_key": null with
 * WireGuard = no, "port": on which it listens, "endpoint": where clients find it ("host:port", or null when
 * PublicEndpoint is not set), "networks": [its inner networks], "peers_directory": an absolute path, or null} */
json_t *gateway_control_identity(void *context, char *const *words, size_t count, struct error *error);
