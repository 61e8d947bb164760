// SPDX-License-Identifier: Apache-2.0
/* "shardtunctl import": a WireGuard server's file becomes a gateway's configuration. No daemon is needed. */
#pragma once

#include "core/cli/ctl_options.h"

/* words[0] is the file. */
enum cli_status ctl_import(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			   int count);
