// SPDX-License-Identifier: Apache-2.0
/* One thing of a configuration, without reading all of it: there may be a million peers. */
#pragma once

#include "config/config.h"

/* The User of the gateway's configuration at `path`, as it is written, "auto" when it is not; not looked up. 0 or a
 * negative errno with `error`. Other mistakes in the file are not looked for. Any thread. */
int config_peek_user(const char *path, char user[CONFIG_USER_SIZE], struct error *error);
