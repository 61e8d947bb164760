// SPDX-License-Identifier: Apache-2.0
/* What 'shardtun status' shows. Control thread. */
#pragma once

#include "core/client/context.h"

/* The control socket's command "client". */
json_t *client_status(void *context, char *const *arguments, size_t count, struct error *error);
